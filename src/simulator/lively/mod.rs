//! A cast of segments that look like a company's own, and a script that edits them step by step as its people would.
//!
//! Deterministic from a seed, times aside. Must never happen here: a step that changes nothing.

mod cast;
mod script;

pub use self::cast::{ids, octave, octave_newcomer, statsig, statsig_newcomer};
pub use self::script::{Kind, Script, Step};

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use serde_json::Value;

    use super::super::{Account, Provider, octave, statsig};
    use super::*;

    struct Stage {
        statsig: Account<statsig::Segment>,
        octave: Account<octave::Segment>,
        script: Script,
    }

    fn stage(seed: u64) -> Stage {
        let (statsig, octave) = (Account::statsig(), Account::octave());
        let script = Script::new(seed, &statsig, &octave);
        Stage { statsig, octave, script }
    }

    impl Stage {
        /// What a client could read, without the stamps.
        fn read(&self) -> BTreeMap<(Provider, String), Value> {
            let statsig = self.statsig.ids(true).into_iter().map(|id| (Provider::Statsig, self.statsig.text(&id), id));
            let octave = self.octave.ids(true).into_iter().map(|id| (Provider::Octave, self.octave.text(&id), id));
            let bare = |text: Option<String>| {
                let mut json: Value = serde_json::from_str(&text.unwrap()).unwrap();
                let object = json.as_object_mut().unwrap();
                object.retain(|key, _| {
                    !["updatedAt", "createdAt", "createdTime", "version"].contains(&key.as_str())
                        && !key.starts_with("lastModif")
                });
                // When it was deleted is a stamp too, but not that it was.
                if let Some(at) = object.get_mut("deletedAt") {
                    *at = Value::Bool(at.is_string());
                }
                json
            };
            statsig.chain(octave).map(|(provider, text, id)| ((provider, id), bare(text))).collect()
        }
    }

    #[test]
    fn every_step_changes_exactly_the_segment_that_it_names() {
        for seed in 0..3 {
            let mut stage = stage(seed);
            let mut before = stage.read();
            assert_eq!(before.len(), 20);
            for _ in 0..200 {
                let step = stage.script.step().unwrap();
                let after = stage.read();
                let ids: HashSet<_> = before.keys().chain(after.keys()).cloned().collect();
                let changed: Vec<_> = ids.into_iter().filter(|id| before.get(id) != after.get(id)).collect();
                assert_eq!(changed, [(step.provider, step.segment.clone())], "{step}");
                assert!(!step.text.is_empty() && !step.text.contains('\n'));
                before = after;
            }
        }
    }

    #[test]
    fn any_twenty_steps_hold_every_kind_for_both() {
        use Kind::*;
        let mut stage = stage(7);
        let steps: Vec<_> = (0..200).map(|_| stage.script.step().unwrap()).collect();
        for window in steps.windows(20) {
            let kinds = |provider| -> HashSet<Kind> {
                window.iter().filter(|step| step.provider == provider).map(|step| step.kind).collect()
            };
            for kind in [Create, Delete, Restore, InsertRule, PassPercentage, SwapRules, Tags, Target, Describe] {
                assert!(kinds(Provider::Statsig).contains(&kind), "{kind:?}");
            }
            for kind in [Create, SoftDelete, Delete, Restore, Reweight, Describe, Questions, Data, Rename] {
                assert!(kinds(Provider::Octave).contains(&kind), "{kind:?}");
            }
        }
        for (place, gone) in steps.iter().enumerate().filter(|(_, s)| matches!(s.kind, Delete | SoftDelete)) {
            let untouched = steps.iter().skip(place + 1).take(7);
            assert!(untouched.into_iter().all(|step| step.segment != gone.segment), "{gone}");
        }
    }

    #[test]
    fn the_seed_decides() {
        let play = |seed| {
            let mut stage = stage(seed);
            let steps: Vec<_> = (0..60).map(|_| stage.script.step().unwrap()).collect();
            (steps, stage.read())
        };
        assert_eq!(play(1), play(1));
        assert_ne!(play(1).0, play(2).0);
    }

    #[test]
    fn a_configuration_can_name_everyone_before_they_exist() {
        let mut stage = stage(0);
        let mut named: HashSet<_> = ids(Provider::Statsig, 10).into_iter().chain(ids(Provider::Octave, 10)).collect();
        assert_eq!(named.len(), 40, "no id twice");
        for _ in 0..200 {
            assert!(named.contains(&stage.script.step().unwrap().segment));
        }
        named.retain(|id| id.starts_with("sg_"));
        assert!(named.iter().all(|id| id.len() == 24 && id[3..].bytes().all(|b| b.is_ascii_alphanumeric())));
    }
}
