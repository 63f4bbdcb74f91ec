//! How rows name their records in F&O: by the entity's own key, whose company a sidecar, a column or the service gives.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use super::COMPANY;
use super::operations::{literal_again, literal_of};
use crate::domain::conform::{Conformed, excerpt};
use crate::domain::entity::Entity;
use crate::domain::refusal::Refusal;
use crate::domain::row::RowId;
use crate::domain::settings::Mode;
use crate::io::dynamics::fault::PlanProblem;
use crate::io::dynamics::plan::{PlannedColumn, Role, RowPlan};
use crate::io::dynamics::spelling;

/// The company of rows that do not name one themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::io::dynamics) enum Usual {
    /// The entity belongs to no company.
    Shared,
    /// The sidecar's `legal_entity`.
    Named(String),
    /// The service's default one, where it could be asked for.
    Default(Option<String>),
}

/// Where a member of the key comes from.
#[derive(Debug, Clone, PartialEq)]
enum Member {
    /// A column of the sheet, by its place in the plan.
    Column(usize),
    /// The company.
    Company,
    /// The service makes it when it creates the record.
    Made(String),
}

/// How the rows of one load name their records.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::io::dynamics) struct EntityNaming {
    members: Vec<Member>,
    usual: Usual,
    /// The sheet's own column of companies.
    company_column: Option<usize>,
    /// Keys of records that loads into this table have written, in lower case.
    written: HashSet<String>,
    /// The same by row, for keys that a row does not hold.
    written_by: HashMap<RowId, String>,
}

/// One member of a record's key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeyPart {
    pub(super) name: String,
    /// As a literal in a URL; `None` where only the service knows it.
    pub(super) literal: Option<String>,
    /// As people read it.
    pub(super) shown: String,
}

/// What is known of a record's key before it is written: all members in their order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RecordKey {
    pub(super) parts: Vec<KeyPart>,
    /// What is not known, the gravest.
    pub(super) missing: Option<Missing>,
}

/// What a key lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io::dynamics) enum Missing {
    /// The name of the default company.
    Company,
    /// A value that the service makes.
    Made,
}

impl RecordKey {
    /// The key of a record of the entity as a receipt has it ([`Self::shown`], [`Self::told`]); `None` where it is not whole.
    pub(super) fn read(entity: &Entity, shown: &str) -> Option<Self> {
        let mut values = values_of(shown)?;
        let part = |name: &String| {
            let shown = values.remove(name.as_str())?;
            let literal = literal_again(&entity.attribute(name)?.kind, shown);
            Some(KeyPart { name: name.clone(), literal: Some(literal), shown: shown.to_owned() })
        };
        let parts = entity.keys.first()?.attributes.iter().map(part).collect::<Option<Vec<_>>>()?;
        Some(RecordKey { parts, missing: None }).filter(|_| values.is_empty())
    }

    /// What stands between the parentheses of the record's address, as far as it is known.
    pub(super) fn predicate(&self) -> String {
        self.terms("=").collect::<Vec<_>>().join(",")
    }

    /// The members that are known, as `name`, `between`, literal.
    pub(super) fn terms(&self, between: &str) -> impl Iterator<Item = String> {
        self.parts
            .iter()
            .filter_map(move |part| Some(format!("{}{between}{}", part.name, part.literal.as_ref()?)))
    }

    /// The predicate as people read it.
    pub(super) fn shown(&self) -> String {
        let known = self.parts.iter().filter(|part| part.literal.is_some());
        known.map(|part| format!("{}={}", part.name, part.shown)).collect::<Vec<_>>().join(",")
    }

    /// The whole predicate as people read it, with what the service tells of the record; `None` where it tells too little.
    pub(super) fn told(&self, record: &Json) -> Option<String> {
        let of = |part: &KeyPart| {
            let shown = match (&part.literal, record.get(&part.name)) {
                (Some(_), _) => part.shown.clone(),
                (None, Some(Json::String(text))) => format!("'{}'", text.replace('\'', "''")),
                (None, Some(Json::Null) | None) => return None,
                (None, Some(other)) => other.to_string(),
            };
            Some(format!("{}={shown}", part.name))
        };
        Some(self.parts.iter().map(of).collect::<Option<Vec<_>>>()?.join(","))
    }
}

/// The members of a predicate as people read it: name and literal, whose text may hold commas and doubled quotes.
fn values_of(shown: &str) -> Option<HashMap<&str, &str>> {
    let mut values = HashMap::new();
    let mut rest = shown;
    while !rest.is_empty() {
        let (name, tail) = rest.split_once('=')?;
        let mut in_text = false;
        let is_end = |c: char| {
            in_text ^= c == '\'';
            c == ',' && !in_text
        };
        let end = tail.find(is_end).unwrap_or(tail.len());
        values.insert(name, &tail[..end]).is_none().then_some(())?;
        rest = tail[end..].strip_prefix(',').unwrap_or_default();
    }
    Some(values)
}

impl EntityNaming {
    /// How rows with these columns name records of the entity; sets the roles of the key's columns.
    ///
    /// # Errors
    /// What the sender must mend.
    pub(in crate::io::dynamics) fn of(
        entity: &Entity,
        mode: Mode,
        planned: &mut [PlannedColumn],
        usual: Usual,
        notes: &mut Vec<String>,
    ) -> Result<Self, PlanProblem> {
        let problem =
            |cause: String, advice: &str| PlanProblem { header: None, cause, advice: advice.to_owned() };
        let set = &entity.set_name;
        let key = entity.keys.first().map(|key| key.attributes.as_slice()).unwrap_or_default();
        if mode == Mode::Edit {
            let cause = "mode `edit` goes by the ids of Dataverse's records, which Finance & Operations does not have";
            return Err(problem(
                cause.to_owned(),
                "use mode `update` or `upsert`: rows are found by their key",
            ));
        }
        if key.is_empty() {
            let cause = format!("`{set}` has no key, so its records cannot be told apart");
            return Err(problem(cause, "load another entity"));
        }
        let place = |name: &str| planned.iter().position(|column| column.attribute.logical_name == name);
        let mut members = Vec::new();
        let mut made = Vec::new();
        let mut absent = Vec::new();
        for name in key {
            members.push(match (place(name), name == COMPANY, mode) {
                (_, true, _) => Member::Company,
                (Some(at), ..) => Member::Column(at),
                (None, _, Mode::Insert) => {
                    made.push(name.as_str());
                    Member::Made(name.clone())
                }
                (None, ..) => {
                    absent.push(name.as_str());
                    continue;
                }
            });
        }
        if !absent.is_empty() {
            let cause = format!(
                "mode `{}` names records by the whole key of `{set}`, {}; the sheet has no column for {}",
                mode.as_str(),
                key.join(" + "),
                absent.join(", ")
            );
            return Err(problem(cause, "add it, or say with `columns` in the sidecar which column it is"));
        }
        let company_column = place(COMPANY);
        if mode != Mode::Insert && company_column.is_none() && usual == Usual::Default(None) {
            let cause = format!(
                "`{set}` belongs to companies, and which one is the default is not to be seen: it has no record of \
                 `{set}`, or records of several companies are shown"
            );
            return Err(problem(cause, "name the company with `legal_entity` in the sidecar"));
        }
        if !made.is_empty() {
            notes.push(format!(
                "Dynamics is to make {} itself: rows whose answer is lost come back as `outcome unknown`, since nobody \
                 can ask for them",
                made.join(", ")
            ));
        }
        for member in &members {
            if let Member::Column(at) = member {
                planned[*at].role = match mode {
                    Mode::Insert | Mode::Upsert => Role::KeyAndValue,
                    Mode::Update | Mode::Delete | Mode::Edit => Role::Key,
                };
            }
        }
        let (written, written_by) = Default::default();
        Ok(EntityNaming { members, usual, company_column, written, written_by })
    }

    /// The columns that name records, the company's aside; `None` where the service makes a part of the key.
    pub(in crate::io::dynamics) fn columns(&self) -> Option<Vec<usize>> {
        let column = |member: &Member| match member {
            Member::Column(at) => Some(Some(*at)),
            Member::Company => Some(None),
            Member::Made(_) => None,
        };
        let columns: Option<Vec<Option<usize>>> = self.members.iter().map(column).collect();
        Some(columns?.into_iter().flatten().collect())
    }

    /// The sheet's own column of companies, and what its blank cells stand for.
    pub(in crate::io::dynamics) fn companies(&self) -> (Option<usize>, &str) {
        let usual = match &self.usual {
            Usual::Named(company) | Usual::Default(Some(company)) => company,
            Usual::Shared | Usual::Default(None) => "",
        };
        (self.company_column, usual)
    }

    /// Whether records of this entity belong to a company.
    pub(super) fn is_shared(&self) -> bool {
        self.usual == Usual::Shared
    }

    /// Remembers a record that a row wrote before.
    pub(in crate::io::dynamics) fn keep(&mut self, row: RowId, target_key: &str) {
        self.written.insert(target_key.to_lowercase());
        self.written_by.insert(row, target_key.to_owned());
    }

    /// Whether a load into this table wrote the record with this key.
    pub(super) fn has_written(&self, key: &RecordKey) -> bool {
        key.missing.is_none() && self.written.contains(&key.shown().to_lowercase())
    }

    /// The key that the service made for a row when it was written before, as receipts have it.
    pub(super) fn made_for(&self, row: RowId) -> Option<&str> {
        self.written_by.get(&row).map(String::as_str)
    }

    /// The company of a row: its own, else the usual one; `None` where it is the service's to choose.
    ///
    /// # Errors
    /// Where row and sidecar contradict each other.
    pub(super) fn company<'a>(
        &'a self,
        plan: &RowPlan,
        cells: &'a [Conformed],
    ) -> Result<Option<&'a str>, Box<Refusal>> {
        let own = self.company_column.and_then(|at| match &cells[at] {
            Conformed::Text(text) => Some((at, text.trim())).filter(|(_, text)| !text.is_empty()),
            _ => None,
        });
        Ok(match (own, &self.usual) {
            (Some((at, own)), Usual::Named(company)) if !own.eq_ignore_ascii_case(company) => {
                return Err(Box::new(Refusal {
                    column: Some(plan.columns[at].name.clone()),
                    error: format!("`{COMPANY}` `{own}` contradicts `legal_entity` `{company}`"),
                    cause: format!(
                        "the row is of company `{}`, but the sidecar's `legal_entity` says `{company}`",
                        excerpt(own)
                    ),
                    advice: "empty the cell, or take `legal_entity` out of the sidecar".to_owned(),
                    missing: None,
                }));
            }
            (Some((_, own)), _) => Some(own),
            (None, Usual::Named(company) | Usual::Default(Some(company))) => Some(company),
            (None, Usual::Shared | Usual::Default(None)) => None,
        })
    }

    /// The key of a row's record, as far as it is known.
    pub(super) fn key(&self, plan: &RowPlan, company: Option<&str>, cells: &[Conformed]) -> RecordKey {
        let mut key = RecordKey { parts: Vec::new(), missing: None };
        for member in &self.members {
            let (name, literal, shown) = match member {
                Member::Column(at) => {
                    let attribute = &plan.columns[*at].attribute;
                    let literal = literal_of(&attribute.kind, &cells[*at]);
                    let shown = spelling::literal(&cells[*at]).unwrap_or_default();
                    (attribute.logical_name.as_str(), literal, shown)
                }
                Member::Company => {
                    let literal = company.map(|company| format!("'{}'", company.replace('\'', "''")));
                    (COMPANY, literal.clone(), literal.unwrap_or_default())
                }
                Member::Made(name) => (name.as_str(), None, String::new()),
            };
            if literal.is_none() {
                key.missing = match (key.missing, member) {
                    (None, Member::Company) => Some(Missing::Company),
                    _ => Some(Missing::Made),
                };
            }
            key.parts.push(KeyPart { name: name.to_owned(), literal, shown });
        }
        key
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::entity::{Attribute, AttributeKind, EntityKey};

    fn entity() -> Entity {
        let attribute = |(name, kind): (&str, AttributeKind)| Attribute {
            logical_name: name.to_owned(),
            display_name: None,
            kind,
            required: true,
            creatable: true,
            updatable: false,
        };
        let text = || AttributeKind::Text { length_max: None };
        let attributes = [
            (COMPANY, text()),
            ("Name", text()),
            ("Kind", AttributeKind::Enumeration { name: "NoYes".to_owned(), members: Vec::new() }),
            ("From", AttributeKind::DayOrInstant),
            ("Line", AttributeKind::Decimal { min: None, max: None, precision: None }),
        ];
        let names = attributes.iter().map(|(name, _)| (*name).to_owned()).collect();
        Entity {
            set_name: "Lines".to_owned(),
            logical_name: "Line".to_owned(),
            display_name: None,
            primary_id: None,
            primary_name: None,
            attributes: attributes.map(attribute).into(),
            keys: vec![EntityKey { name: "EntityKey".to_owned(), attributes: names, active: true }],
        }
    }

    #[test]
    fn a_key_in_a_receipt_is_an_address_again_and_one_that_is_not_whole_is_none() {
        let entity = entity();
        let read = |shown: &str| RecordKey::read(&entity, shown);
        // As rows tell it, and as the service does.
        for shown in [
            "dataAreaId='usmf',Name='O''Brien, ''a''=b',Kind='Yes',From=2019-10-04,Line=1.5",
            "dataAreaId='usmf',Name='O''Brien, ''a''=b',Kind='Yes',From='2019-10-04T12:00:00Z',Line=1.5",
        ] {
            let key = read(shown).unwrap();
            assert_eq!(
                key.predicate(),
                "dataAreaId='usmf',Name='O''Brien, ''a''=b',Kind=Microsoft.Dynamics.DataEntities.NoYes'Yes',\
                 From=2019-10-04T12:00:00Z,Line=1.5"
            );
            assert_eq!((key.shown().as_str(), key.missing), (shown, None));
        }
        for shown in [
            "",
            "dataAreaId='usmf'",
            "dataAreaId='usmf',Name='x',Kind='Yes',From=2019-10-04",
            "dataAreaId='usmf',Name='x',Kind='Yes',From=2019-10-04,Line=1,More=2",
            "dataAreaId='usmf',Name='x',Kind='Yes',From=2019-10-04,Line=1,Line=1",
            "8f4c3f92-312b-ee11-bdf4-000d3a993550",
        ] {
            assert_eq!(read(shown), None, "{shown}");
        }
    }
}
