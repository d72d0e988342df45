//! People who edit segments: they make, change, delete and restore them, at times while requests are on their way.

use segsync::simulator::octave::Question;
use segsync::simulator::statsig::{self, Rule};
use segsync::simulator::{Edited, Provider, lively, octave};
use serde_json::json;

use crate::soak::stage::{BOTH, SEGMENTS, Stage, ids};
use crate::soak::time::{MINUTE, SECOND, about};

impl Stage {
    /// People edit, now and then a few edits in a row, half of the times while requests are on their way.
    pub async fn edit(&self) {
        let mut random = self.random("edit");
        while !self.is_quiet() {
            tokio::time::sleep(about(&mut random, 45 * MINUTE)).await;
            if random.bool() {
                self.meanwhile(&mut random).await;
            }
            let edits = if random.u8(0..4) == 0 { random.u8(2..6) } else { 1 };
            for _ in 0..edits {
                if self.is_quiet() {
                    return;
                }
                let provider = BOTH[random.usize(..2)];
                let id = ids(provider).swap_remove(random.usize(..SEGMENTS));
                self.edit_one(provider, &id, &mut random).unwrap();
                self.note(provider, &id);
                self.edits.set(self.edits.get() + 1);
                tokio::time::sleep(about(&mut random, 3 * SECOND)).await;
            }
        }
    }

    fn edit_one(&self, provider: Provider, id: &str, random: &mut fastrand::Rng) -> Edited {
        let (number, dice) = (self.edits.get(), random.u8(0..20));
        match provider {
            Provider::Statsig => {
                let account = self.simulator.statsig();
                match account.get(id) {
                    None if dice < 15 && account.restore(id).is_ok() => Ok(()),
                    None => {
                        self.make(provider, id);
                        Ok(())
                    }
                    Some(_) if dice < 3 => account.remove(id),
                    Some(now) => account.edit(id, |segment| edit_statsig(segment, &now, number, dice)),
                }
            }
            Provider::Octave => {
                let account = self.simulator.octave();
                match account.get(id) {
                    None if dice < 15 && account.restore(id).is_ok() => Ok(()),
                    None => {
                        self.make(provider, id);
                        Ok(())
                    }
                    Some(now) if now.deleted_ms.is_some() && dice < 14 => account.restore(id),
                    Some(_) if dice < 2 => account.remove(id),
                    Some(now) if dice < 4 && now.deleted_ms.is_none() => account.soft_delete(id),
                    Some(now) => account.edit(id, |segment| edit_octave(segment, &now, number, dice)),
                }
            }
        }
    }

    /// Puts a segment of the cast into the provider.
    pub fn make(&self, provider: Provider, id: &str) {
        match provider {
            Provider::Statsig => {
                let made = lively::statsig().into_iter().find(|segment| segment.id == id);
                self.simulator.statsig().add(made.unwrap());
            }
            Provider::Octave => {
                let made = lively::octave().into_iter().find(|segment| segment.o_id == id);
                self.simulator.octave().add(made.unwrap());
            }
        }
    }

    pub fn note(&self, provider: Provider, id: &str) {
        let text = match provider {
            Provider::Statsig => self.simulator.statsig().text(id),
            Provider::Octave => self.simulator.octave().text(id),
        };
        self.truth.borrow_mut().note(provider, id, self.machine.wall(), text.as_deref());
    }
}

fn edit_statsig(segment: &mut statsig::Segment, now: &statsig::Segment, number: u32, dice: u8) -> Edited {
    let rule = || Rule::new(&format!("exception {number}"), Vec::new());
    match dice {
        3..7 => segment.describe(&format!("reviewed in edit {number}")),
        7..10 => segment.set_enabled(!now.is_enabled),
        10..13 if now.rules.len() < 6 => segment.insert_rule(usize::from(dice) - 10, rule()),
        10..16 if !now.rules.is_empty() => segment.remove_rule(&now.rules[0].name),
        16 => segment.reverse_tags(),
        17 if now.tags.len() < 5 => segment.add_tag(&format!("tag {number}")),
        17 => segment.remove_tag(&now.tags[0]),
        _ => segment.set_count(u64::from(number)),
    }
}

fn edit_octave(segment: &mut octave::Segment, now: &octave::Segment, number: u32, dice: u8) -> Edited {
    let asked = now.questions.as_deref().unwrap_or_default();
    match dice {
        4..8 => segment.describe(&format!("reviewed in edit {number}")),
        8..10 => segment.set_active(!now.active),
        10..13 if asked.len() < 6 => segment.add_question(Question::new(&format!("What of edit {number}?"))),
        10..15 if !asked.is_empty() => segment.remove_question(&asked[0].question),
        15 => segment.rename(&format!("{} {number}", now.internal_name)),
        _ => segment.set_data("drivers", json!([number, "lower cost of sale"])),
    }
}
