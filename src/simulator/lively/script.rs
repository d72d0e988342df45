//! What happens on stage: a round of twenty steps for ever, with its choices drawn from a seed.
//!
//! Any twenty steps in a row hold each kind once for each provider that has it. What is deleted comes back eight steps
//! later, so that a poller that is faster than the script sees it gone more than once.

use std::fmt;

use serde_json::json;

use super::super::octave::{self, Question, Weight};
use super::super::statsig::{self, Condition, Percent, Rule, Target};
use super::super::{Account, Missing, Person, Provider};
use super::cast;

/// A step that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whose segment.
    pub provider: Provider,
    /// Its id.
    pub segment: String,
    /// What was done.
    pub kind: Kind,
    /// One line for people.
    pub text: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A segment that was not there before.
    Create,
    /// Gone: 404.
    Delete,
    /// Marked as deleted, still readable.
    SoftDelete,
    /// Back again.
    Restore,
    /// A rule in first place.
    InsertRule,
    /// A rule taken away.
    RemoveRule,
    /// Another pass percentage.
    PassPercentage,
    /// Two rules in the other order.
    SwapRules,
    /// A tag more or less.
    Tags,
    /// A condition compares with something else.
    Target,
    /// Another description.
    Describe,
    /// Another name.
    Rename,
    /// A question counts for more or less.
    Reweight,
    /// A question more or less.
    Questions,
    /// Other playbook content.
    Data,
}

/// The script. [`Script::step`] performs what comes next.
#[derive(Debug)]
pub struct Script {
    statsig: Account<statsig::Segment>,
    octave: Account<octave::Segment>,
    dice: Dice,
    step: usize,
    away: Away,
}

/// Who was deleted and waits to come back.
#[derive(Debug, Default)]
struct Away {
    statsig: String,
    soft: String,
    hard: String,
}

const ROUND: usize = 20;
type Done = Result<(String, Kind, String), Missing>;

impl Script {
    /// Puts the cast into the accounts and is ready for the first step.
    pub fn new(seed: u64, statsig: &Account<statsig::Segment>, octave: &Account<octave::Segment>) -> Self {
        cast::statsig().into_iter().for_each(|segment| statsig.add(segment));
        cast::octave().into_iter().for_each(|segment| octave.add(segment));
        let (statsig, octave) = (statsig.clone(), octave.clone());
        Self { statsig, octave, dice: Dice(seed), step: 0, away: Away::default() }
    }

    /// Performs the next step.
    ///
    /// # Errors
    /// When somebody else removed from the accounts what the script counts on.
    pub fn step(&mut self) -> Result<Step, Missing> {
        let place = self.step % ROUND;
        let (provider, done) = match place {
            0 => (Provider::Statsig, self.create_statsig()),
            1 => (Provider::Octave, self.create_octave()),
            2 => (Provider::Statsig, self.delete_statsig()),
            3 => (Provider::Octave, self.delete_octave(true)),
            4 => (Provider::Statsig, self.insert_rule()),
            5 => (Provider::Octave, self.delete_octave(false)),
            6 => (Provider::Statsig, self.pass_percentage()),
            7 => (Provider::Octave, self.reweight()),
            8 => (Provider::Statsig, self.swap_rules()),
            9 => (Provider::Octave, self.describe_octave()),
            10 => (Provider::Statsig, restore(&self.statsig, &self.away.statsig)),
            11 => (Provider::Octave, restore(&self.octave, &self.away.soft)),
            12 => (Provider::Statsig, self.tags()),
            13 => (Provider::Octave, restore(&self.octave, &self.away.hard)),
            14 => (Provider::Statsig, self.target()),
            15 => (Provider::Octave, self.questions()),
            16 => (Provider::Statsig, self.describe_statsig()),
            17 => (Provider::Octave, self.data()),
            18 => (Provider::Statsig, self.rename_or_trim()),
            _ => (Provider::Octave, self.rename_octave()),
        };
        let (segment, kind, text) = done?;
        self.step += 1;
        Ok(Step { provider, segment, kind, text })
    }

    fn create_statsig(&mut self) -> Done {
        let segment = cast::statsig_newcomer(self.step / ROUND);
        let id = segment.id.clone();
        self.statsig.add(segment);
        let text = format!("created {id}");
        Ok((id, Kind::Create, text))
    }

    fn create_octave(&mut self) -> Done {
        let segment = cast::octave_newcomer(self.step / ROUND);
        let (id, text) = (segment.o_id.clone(), format!("created {}", segment.name));
        self.octave.add(segment);
        Ok((id, Kind::Create, text))
    }

    fn delete_statsig(&mut self) -> Done {
        let id = self.statsig_segment(|_| true)?.id;
        self.statsig.remove(&id)?;
        self.away.statsig.clone_from(&id);
        let text = format!("deleted {id}");
        Ok((id, Kind::Delete, text))
    }

    fn delete_octave(&mut self, softly: bool) -> Done {
        let segment = self.octave_segment()?;
        let id = segment.o_id;
        let (kind, text) = if softly {
            self.octave.soft_delete(&id)?;
            self.away.soft.clone_from(&id);
            (Kind::SoftDelete, format!("deleted {} (deletedAt)", segment.name))
        } else {
            self.octave.remove(&id)?;
            self.away.hard.clone_from(&id);
            (Kind::Delete, format!("deleted {} (404)", segment.name))
        };
        Ok((id, kind, text))
    }

    fn insert_rule(&mut self) -> Done {
        let segment = self.statsig_segment(|s| s.kind == "rule_based")?;
        let number = self.step / ROUND + 1;
        let name = format!("exception {number}");
        let percent = Percent::whole(self.dice.choose(&[5, 20, 25, 50]).unwrap_or(100));
        let condition = Condition::new("user_id", "any", Target::texts(&[&format!("u-{}", 1000 + number)]));
        let rule = Rule::new(&name, vec![condition]).passing(percent);
        self.edit_statsig(&segment.id, |s| s.insert_rule(0, rule))?;
        let text = format!("put rule `{name}` ({percent}) at the top of {}", segment.id);
        Ok((segment.id, Kind::InsertRule, text))
    }

    fn pass_percentage(&mut self) -> Done {
        let segment = self.statsig_segment(|s| !s.rules.is_empty())?;
        let rule = self.dice.pick(&segment.rules, "rule")?;
        let choices = [1000, 1250, 2500, 3333, 5000, 7550, 10_000].map(Percent::hundredths);
        let others: Vec<Percent> = choices.into_iter().filter(|&pass| pass != rule.pass).collect();
        let pass = self.dice.pick(&others, "percentage")?;
        self.edit_statsig(&segment.id, |s| s.set_pass_percentage(&rule.name, pass))?;
        let text = format!("let {pass} pass rule `{}` of {}, was {}", rule.name, segment.id, rule.pass);
        Ok((segment.id, Kind::PassPercentage, text))
    }

    fn swap_rules(&mut self) -> Done {
        let segment = self.statsig_segment(|s| s.rules.len() > 1)?;
        let [one, other, ..] = segment.rules.as_slice() else { return Err(Missing("two rules".to_owned())) };
        self.edit_statsig(&segment.id, |s| s.swap_rules(&one.name, &other.name))?;
        let text = format!("swapped rules `{}` and `{}` of {}", one.name, other.name, segment.id);
        Ok((segment.id, Kind::SwapRules, text))
    }

    fn tags(&mut self) -> Done {
        let segment = self.statsig_segment(|_| true)?;
        let tag = self.dice.choose(&["q3", "urgent", "audited", "experiment"]).unwrap_or("q3");
        let tagged = segment.tags.iter().any(|t| t == tag);
        self.edit_statsig(&segment.id, |s| if tagged { s.remove_tag(tag) } else { s.add_tag(tag) })?;
        let text = format!("{} {}: {tag}", if tagged { "untagged" } else { "tagged" }, segment.id);
        Ok((segment.id, Kind::Tags, text))
    }

    fn target(&mut self) -> Done {
        let has_texts =
            |rule: &Rule| matches!(rule.conditions.first(), Some(c) if matches!(c.target, Target::Texts(_)));
        let segment = self.statsig_segment(|s| s.rules.iter().any(has_texts))?;
        let rules: Vec<Rule> = segment.rules.iter().filter(|rule| has_texts(rule)).cloned().collect();
        let rule = self.dice.pick(&rules, "rule")?;
        let Some(Target::Texts(mut texts)) = rule.conditions.into_iter().next().map(|c| c.target) else {
            return Err(Missing("array of strings".to_owned()));
        };
        // Longer by one, but never without end.
        if texts.len() > 6 {
            texts.remove(0);
        }
        texts.push(format!("added-{}", self.step));
        self.edit_statsig(&segment.id, |s| s.set_target(&rule.name, 0, Target::Texts(texts)))?;
        let text = format!("changed what rule `{}` of {} compares with", rule.name, segment.id);
        Ok((segment.id, Kind::Target, text))
    }

    fn describe_statsig(&mut self) -> Done {
        let segment = self.statsig_segment(|_| true)?;
        let description = reviewed(&segment.description, self.step);
        self.edit_statsig(&segment.id, |s| s.describe(&description))?;
        let text = format!("described {} anew", segment.id);
        Ok((segment.id, Kind::Describe, text))
    }

    /// Removes a rule where there are many, so that a long demo does not grow without end; else renames.
    fn rename_or_trim(&mut self) -> Done {
        if let Ok(segment) = self.statsig_segment(|s| s.rules.len() > 3) {
            let rule = segment.rules.last().map(|rule| rule.name.clone()).unwrap_or_default();
            self.edit_statsig(&segment.id, |s| s.remove_rule(&rule))?;
            let text = format!("removed rule `{rule}` of {}", segment.id);
            return Ok((segment.id, Kind::RemoveRule, text));
        }
        let segment = self.statsig_segment(|_| true)?;
        let name = numbered(segment.name.as_deref().unwrap_or(&segment.id), self.step);
        self.edit_statsig(&segment.id, |s| s.rename(&name))?;
        let text = format!("renamed {} to `{name}`", segment.id);
        Ok((segment.id, Kind::Rename, text))
    }

    fn reweight(&mut self) -> Done {
        let segment = self.octave_segment()?;
        let question = self.dice.pick(segment.questions.as_deref().unwrap_or_default(), "question")?;
        let weight = match question.weight {
            Weight::Low => Weight::Medium,
            Weight::Medium => Weight::High,
            Weight::High => Weight::Low,
        };
        self.octave.edit(&segment.o_id, |s| s.reweight(&question.question, weight))?;
        let text = format!("let `{}` of {} count {}", question.question, segment.name, weight.word());
        Ok((segment.o_id, Kind::Reweight, text))
    }

    fn describe_octave(&mut self) -> Done {
        let segment = self.octave_segment()?;
        let description = reviewed(&segment.description, self.step);
        self.octave.edit(&segment.o_id, |s| s.describe(&description))?;
        Ok((segment.o_id, Kind::Describe, format!("described {} anew", segment.name)))
    }

    fn questions(&mut self) -> Done {
        let segment = self.octave_segment()?;
        let questions = segment.questions.unwrap_or_default();
        let text = match questions.last() {
            Some(last) if questions.len() > 4 => {
                self.octave.edit(&segment.o_id, |s| s.remove_question(&last.question))?;
                format!("no longer asks {}: {}", segment.name, last.question)
            }
            _ => {
                let question = format!("Did they answer survey {}?", self.step / ROUND + 1);
                self.octave.edit(&segment.o_id, |s| s.add_question(Question::new(&question)))?;
                format!("asks {}: {question}", segment.name)
            }
        };
        Ok((segment.o_id, Kind::Questions, text))
    }

    fn data(&mut self) -> Done {
        let segment = self.octave_segment()?;
        let drivers = json!(["Lower cost of sale", format!("Finding of week {}", self.step / ROUND + 1)]);
        self.octave.edit(&segment.o_id, |s| s.set_data("businessDrivers", drivers))?;
        Ok((segment.o_id, Kind::Data, format!("changed the business drivers of {}", segment.name)))
    }

    fn rename_octave(&mut self) -> Done {
        let segment = self.octave_segment()?;
        let name = numbered(&segment.name, self.step);
        self.octave.edit(&segment.o_id, |s| s.rename(&name))?;
        Ok((segment.o_id, Kind::Rename, format!("renamed {} to `{name}`", segment.name)))
    }

    fn edit_statsig(
        &mut self,
        id: &str,
        edit: impl FnOnce(&mut statsig::Segment) -> Result<(), Missing>,
    ) -> Result<(), Missing> {
        let name = self.dice.choose(&["Ada Lindqvist", "Tomas Berg", "Noor Haddad"]).unwrap_or("Ada Lindqvist");
        self.statsig.edit_by(&Person::named(name), id, edit)
    }

    /// Any segment that is there and fits.
    fn statsig_segment(&mut self, fits: impl Fn(&statsig::Segment) -> bool) -> Result<statsig::Segment, Missing> {
        let there = self.statsig.ids(true).into_iter().filter_map(|id| self.statsig.get(&id)).filter(fits);
        self.dice.pick(&there.collect::<Vec<_>>(), "segment that fits")
    }

    fn octave_segment(&mut self) -> Result<octave::Segment, Missing> {
        let there = self.octave.ids(false).into_iter().filter_map(|id| self.octave.get(&id));
        self.dice.pick(&there.collect::<Vec<_>>(), "segment")
    }
}

fn restore<S: super::super::Model>(account: &Account<S>, id: &str) -> Done {
    account.restore(id)?;
    Ok((id.to_owned(), Kind::Restore, format!("restored {id}")))
}

fn reviewed(description: &str, step: usize) -> String {
    let first = description.split(" (reviewed").next().unwrap_or(description);
    format!("{first} (reviewed {} times)", step / ROUND + 1)
}

fn numbered(name: &str, step: usize) -> String {
    let first = name.split(", edition").next().unwrap_or(name);
    format!("{first}, edition {}", step / ROUND + 2)
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to choose, and the same everywhere.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn choose<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        let many = u64::try_from(all.len()).ok().filter(|&many| many > 0)?;
        all.get(usize::try_from(self.roll() % many).ok()?).cloned()
    }

    fn pick<T: Clone>(&mut self, all: &[T], what: &str) -> Result<T, Missing> {
        self.choose(all).ok_or_else(|| Missing(what.to_owned()))
    }
}
