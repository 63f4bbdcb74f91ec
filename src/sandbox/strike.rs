//! The rules of a running server: what they have counted, and what they do to a request or to one operation in it.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value as Json};

use super::error::ApiError;
use super::faults::{Disturbance, Fault, FaultAnswer, RequestKind};
use super::known;

/// Rows that a rule remembers to refuse again; further ones are refused once.
const REMEMBERED_MAX: usize = 100_000;

/// The rules of a running server with what they counted.
pub(super) struct Faults {
    rules: Vec<Rule>,
    struck: AtomicU64,
}

struct Rule {
    fault: Fault,
    seen: AtomicU64,
    fired: AtomicU64,
    /// Rows that were refused and are refused again.
    remembered: Mutex<HashSet<u64>>,
}

impl Faults {
    /// These rules, nothing counted yet.
    pub(super) fn new(rules: Vec<Fault>) -> Self {
        let counted = |fault| Rule {
            fault,
            seen: AtomicU64::new(0),
            fired: AtomicU64::new(0),
            remembered: Mutex::new(HashSet::new()),
        };
        Faults { rules: rules.into_iter().map(counted).collect(), struck: AtomicU64::new(0) }
    }

    /// Requests and operations that were disturbed so far.
    pub(super) fn struck(&self) -> u64 {
        self.struck.load(Ordering::SeqCst)
    }

    /// What happens to this request; counts it for every rule that it matches.
    pub(super) fn strike<'e>(
        &self,
        kind: RequestKind,
        entities: impl Iterator<Item = &'e str> + Clone,
    ) -> FaultAnswer {
        let mut struck = None;
        for rule in &self.rules {
            let on = &rule.fault.on;
            let kind_matches =
                (on.kind == RequestKind::Any && kind != RequestKind::Operation) || on.kind == kind;
            let entity = on.entity.as_deref();
            if !kind_matches || !entity.is_none_or(|entity| entities.clone().any(|name| name == entity)) {
                continue;
            }
            if rule.due(struck.is_some()) {
                struck = Some(rule.fault.answer.clone());
            }
        }
        if struck.is_some() {
            self.struck.fetch_add(1, Ordering::SeqCst);
        }
        struck.unwrap_or_default()
    }

    /// Refuses the write of one record where a rule says so; a delete has an empty body.
    ///
    /// # Errors
    /// What the rule says; the code's usual status and text where it is silent.
    pub(super) fn strike_operation(&self, entity: &str, body: &Map<String, Json>) -> Result<(), ApiError> {
        let mut refusal = None;
        for rule in &self.rules {
            let on = &rule.fault.on;
            if on.kind != RequestKind::Operation || on.entity.as_deref().is_some_and(|name| name != entity) {
                continue;
            }
            if let Some(column) = &on.column {
                let Some(found) = body.get(column) else { continue };
                if on.value.as_ref().is_some_and(|wanted| wanted != found) {
                    continue;
                }
            }
            let row = on.sticky.then(|| identity(entity, body));
            if (row.is_some_and(|row| rule.remembers(row)) && refusal.is_none())
                || rule.due(refusal.is_some())
            {
                if let Some(row) = row {
                    rule.remember(row);
                }
                refusal = Some(refused(&rule.fault.answer.then));
            }
        }
        match refusal {
            Some(error) => {
                self.struck.fetch_add(1, Ordering::SeqCst);
                Err(error)
            }
            None => Ok(()),
        }
    }
}

impl Rule {
    /// Counts a match; whether the rule fires at it. `taken` when an earlier rule did.
    fn due(&self, taken: bool) -> bool {
        let on = &self.fault.on;
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let due = on.request.is_none_or(|wanted| wanted == number)
            && on.every.is_none_or(|every| every > 0 && number.is_multiple_of(every))
            && on.probability.is_none_or(|probability| chance(on.seed, number) < probability);
        due && !taken && on.times.is_none_or(|times| self.fired.fetch_add(1, Ordering::SeqCst) < times)
    }

    fn remembers(&self, row: u64) -> bool {
        self.remembered.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(&row)
    }

    fn remember(&self, row: u64) {
        let mut remembered = self.remembered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if remembered.len() < REMEMBERED_MAX {
            remembered.insert(row);
        }
    }
}

/// The refusal that a rule gives to one operation.
fn refused(then: &Disturbance) -> ApiError {
    let Disturbance::Status { status, code, message, .. } = then else {
        return ApiError::new(500, "0x80040216", "An unexpected error occurred.");
    };
    let usual = code.as_deref().and_then(known::by_code).unwrap_or_else(|| known::by_status(*status));
    let code = code.clone().unwrap_or_else(|| usual.code.to_owned());
    let message = message.clone().unwrap_or_else(|| usual.text.to_owned());
    ApiError::new(*status, code, message)
}

/// The same number for the same row, however it comes: annotations such as `@odata.type` do not count.
fn identity(entity: &str, body: &Map<String, Json>) -> u64 {
    let mut hasher = DefaultHasher::new();
    entity.hash(&mut hasher);
    let mut members: Vec<(&String, String)> = body
        .iter()
        .filter(|(name, _)| !name.starts_with('@'))
        .map(|(name, value)| (name, value.to_string()))
        .collect();
    members.sort();
    members.hash(&mut hasher);
    hasher.finish()
}

/// A number from 0 up to 1 that depends on the seed and the match's number alone (SplitMix64).
fn chance(seed: u64, number: u64) -> f64 {
    let mut z = seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::super::faults::Cut;
    use super::*;

    fn faults(json: Json) -> Faults {
        Faults::new(serde_json::from_value(json).unwrap())
    }

    fn body(json: Json) -> Map<String, Json> {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn only_matching_requests_are_counted() {
        let faults = faults(json!([{"on":{"entity":"accounts","request":2},"answer":{"cut":"before"}}]));
        let strike = |kind, entity: &'static str| faults.strike(kind, [entity].into_iter()).then;
        assert_eq!(strike(RequestKind::Batch, "accounts"), Disturbance::Nothing);
        assert_eq!(strike(RequestKind::Batch, "contacts"), Disturbance::Nothing);
        assert_eq!(strike(RequestKind::Write, "accounts"), Disturbance::Nothing);
        assert_eq!(strike(RequestKind::Batch, "accounts"), Disturbance::Cut(Cut::Before));
        assert_eq!(strike(RequestKind::Batch, "accounts"), Disturbance::Nothing);
    }

    #[test]
    fn a_rule_about_operations_leaves_requests_alone_and_the_other_way_round() {
        let faults = faults(json!([
            {"on":{"kind":"operation"},"answer":{"code":"0x80040265"}},
            {"on":{"kind":"any"},"answer":{"status":503}},
        ]));
        assert_eq!(faults.strike(RequestKind::Read, std::iter::empty()), FaultAnswer::status(503));
        let error = faults.strike_operation("accounts", &Map::new()).unwrap_err();
        assert_eq!((error.status, error.code.as_ref()), (400, "0x80040265"));
    }

    #[test]
    fn an_operation_is_found_by_its_number_or_by_a_value() {
        let faults = faults(json!([
            {"on":{"kind":"operation","entity":"accounts","request":2},"answer":{"code":"0x80044150"}},
            {"on":{"kind":"operation","column":"name","value":"bad"},"answer":{"status":400,"code":"0x80040265","message":"No."}},
        ]));
        let strike = |name: &str| faults.strike_operation("accounts", &body(json!({ "name": name })));
        assert!(strike("a").is_ok());
        assert_eq!(strike("b").unwrap_err().status, 500);
        assert!(strike("b").is_ok());
        for _ in 0..2 {
            assert_eq!(strike("bad").unwrap_err().message, "No.");
        }
        assert_eq!(faults.struck(), 3);
    }

    #[test]
    fn a_sticky_rule_refuses_its_row_again_in_whatever_it_comes() {
        let faults = faults(json!([
            {"on":{"kind":"operation","request":1,"sticky":true},"answer":{"code":"0x80040265"}},
        ]));
        let strike = |row: Json| faults.strike_operation("accounts", &body(row)).is_err();
        assert!(strike(json!({ "name": "a", "revenue": 1 })));
        assert!(!strike(json!({ "name": "b" })));
        assert!(strike(json!({ "@odata.type": "x", "revenue": 1, "name": "a" })));
    }

    #[test]
    fn a_probability_is_kept_and_a_seed_repeats_it() {
        let run = |seed: u64| {
            let faults = faults(json!([
                {"on":{"kind":"operation","probability":0.1,"seed":seed},"answer":{"code":"0x80044150"}},
            ]));
            (0..10_000).map(|_| faults.strike_operation("a", &Map::new()).is_err()).collect::<Vec<bool>>()
        };
        let first = run(7);
        assert_eq!(first, run(7));
        assert_ne!(first, run(8));
        let fired = first.iter().filter(|fired| **fired).count();
        assert!((800..1_200).contains(&fired), "{fired}");
    }
}
