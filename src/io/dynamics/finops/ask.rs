//! Asks which records are there, many keys in one question: how doubt about an insert is resolved.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::answers::has_key;
use super::naming::Missing;
use super::{COMPANY, CROSS_COMPANY, Course, DefaultCompany};
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
    /// Asks for the records of these operations, all of one entity; `place` numbers tell them apart.
    pub(super) async fn seen(
        &self,
        courses: &[(usize, &Course)],
    ) -> Result<HashMap<usize, Seen>, TargetFault> {
        let mut seen: HashMap<usize, Seen> = HashMap::new();
        let mut open = Vec::new();
        // A company that is not known may show itself by now: what we wrote is in it.
        let mut usual: Option<DefaultCompany> = None;
        for (place, course) in courses {
            let company = match course.key.missing {
                None => None,
                Some(Missing::Made) => {
                    seen.insert(*place, Seen::Hidden);
                    continue;
                }
                Some(Missing::Company) => {
                    let known = match usual.take() {
                        Some(known) => known,
                        None => self.default_company(&course.set).await?,
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
            let terms: Vec<String> = course.key.terms(" eq ").chain(company).collect();
            open.push((*place, *course, encoded(&format!("({})", terms.join(" and ")))));
        }
        let mut open = open.as_slice();
        while !open.is_empty() {
            let mut bytes = 0;
            let fits = |(_, _, term): &&(usize, &Course, String)| {
                bytes += term.len() + OR.len();
                bytes <= FILTER_BYTES_MAX
            };
            let (now, later) = open.split_at(open.iter().take(KEYS_MAX).take_while(fits).count().max(1));
            open = later;
            let terms: Vec<&str> = now.iter().map(|(_, _, term)| term.as_str()).collect();
            let (_, course, _) = now[0];
            let everywhere = if course.has_company { format!("&{CROSS_COMPANY}") } else { String::new() };
            let path = format!("{}?$filter={}{everywhere}", course.set, terms.join(OR));
            let mut found = Vec::new();
            self.inner.wire.each_of(&path, |record| found.push(record)).await?;
            for (place, course, _) in now {
                let record = found.iter().find(|record| has_key(&course.key, record));
                seen.insert(*place, record.map_or(Seen::Absent, |record| Seen::There(record.clone())));
            }
        }
        Ok(seen)
    }
}

/// ` or ` in a URL.
const OR: &str = "%20or%20";
