//! Asks which records are there, many keys in one question: how doubt about an insert is resolved, and records read back.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::answers::has_key;
use super::naming::{Missing, RecordKey};
use super::{COMPANY, CROSS_COMPANY, DefaultCompany};
use crate::io::dynamics::Dynamics;
use crate::io::dynamics::fault::TargetFault;
use crate::io::dynamics::spelling::encoded;

/// Keys in one question at most.
const KEYS_MAX: usize = 40;
/// Length of a question's filter at most, in bytes; what the gateway in front of F&O takes is not documented, and 2,048
/// is what the strictest of them take by default (IIS, `maxQueryString`).
const FILTER_BYTES_MAX: usize = 1_800;

/// What asking for a record came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    /// It is not there.
    Absent,
    /// It is there, with these values.
    There(Json),
    /// It cannot be asked for.
    Hidden,
}

impl Dynamics {
    /// Asks for the records with these keys, all of the entity set; numbers tell them apart.
    pub(super) async fn seen(
        &self,
        set: &str,
        has_company: bool,
        keys: &[(usize, &RecordKey)],
    ) -> Result<HashMap<usize, Seen>, TargetFault> {
        let mut seen: HashMap<usize, Seen> = HashMap::new();
        let mut open = Vec::new();
        // A company that is not known may show itself by now: what we wrote is in it.
        let mut usual: Option<DefaultCompany> = None;
        for (place, key) in keys {
            let company = match key.missing {
                None => None,
                Some(Missing::Made) => {
                    seen.insert(*place, Seen::Hidden);
                    continue;
                }
                Some(Missing::Company) => {
                    let known = match usual.take() {
                        Some(known) => known,
                        None => self.default_company(set).await?,
                    };
                    usual = Some(known.clone());
                    match known {
                        DefaultCompany::Known(company) => Some(company),
                        DefaultCompany::Empty | DefaultCompany::Hidden => {
                            let empty = known == DefaultCompany::Empty;
                            seen.insert(*place, if empty { Seen::Absent } else { Seen::Hidden });
                            continue;
                        }
                    }
                }
            };
            let company = company.map(|company| format!("{COMPANY} eq '{}'", company.replace('\'', "''")));
            let terms: Vec<String> = key.terms(" eq ").chain(company).collect();
            open.push((*place, *key, encoded(&format!("({})", terms.join(" and ")))));
        }
        let mut open = open.as_slice();
        while !open.is_empty() {
            let mut bytes = 0;
            let fits = |(_, _, term): &&(usize, &RecordKey, String)| {
                bytes += term.len() + OR.len();
                bytes <= FILTER_BYTES_MAX
            };
            let (now, later) = open.split_at(open.iter().take(KEYS_MAX).take_while(fits).count().max(1));
            open = later;
            let terms: Vec<&str> = now.iter().map(|(_, _, term)| term.as_str()).collect();
            let everywhere = if has_company { format!("&{CROSS_COMPANY}") } else { String::new() };
            let path = format!("{set}?$filter={}{everywhere}", terms.join(OR));
            let mut found = Vec::new();
            self.inner.wire.each_of(&path, |record| found.push(record)).await?;
            for (place, key, _) in now {
                let record = found.iter().find(|record| has_key(key, record));
                seen.insert(*place, record.map_or(Seen::Absent, |record| Seen::There(record.clone())));
            }
        }
        Ok(seen)
    }
}

/// ` or ` in a URL.
const OR: &str = "%20or%20";
