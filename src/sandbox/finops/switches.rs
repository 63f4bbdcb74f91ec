//! In what environments of Finance & Operations differ, or are not known well enough: switches of the rehearsal server.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

/// Records on one page at most. Source: dynamics.md §6.1.
pub(super) const PAGE_ROWS_MAX: u32 = 10_000;
/// Operations in one batch. Source: dynamics.md §6.4.
pub(super) const BATCH_OPERATIONS_MAX: usize = 5_000;

/// What the environment is like. The default is what was observed or documented most recently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinopsOptions {
    /// The legal entities, in lower case; another `dataAreaId` is refused.
    pub companies: Vec<String>,
    /// The company of clients that have no other, and of rows that name none.
    pub default_company: String,
    /// The default company of single client ids.
    pub client_companies: BTreeMap<String, String>,
    /// The client ids that users stand for; another gets 401. `None` takes any.
    pub mapped_clients: Option<BTreeSet<String>>,
    /// Whether reads see all companies without `cross-company=true`, as a document of 2017 says (dynamics.md §6.1).
    pub reads_across: bool,
    /// Records on one page, from 1 to 10,000.
    pub page_rows_max: u32,
    /// Whether `$metadata` tells `MaxLength`, `Precision` and `Scale`: some builds do (dynamics.md §6.3).
    pub facets: bool,
    /// The status of a write that the application refuses: 400 or 500, both were seen (dynamics.md §6.6).
    pub failure_status: u16,
    /// What becomes of values for columns that the operation cannot write. Not documented.
    pub unwritable: Unwritable,
    /// What becomes of texts that are longer than their columns. Not documented.
    pub overlong: Overlong,
    /// How a batch goes on after a failure and tells of it.
    pub failed_batches: FailedBatches,
    /// How busy the environment is; `None` is never too busy.
    pub load: Option<Load>,
}

/// What becomes of a value for a column that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unwritable {
    /// It is dropped.
    Ignored,
    /// It is refused in the words of a form: the field does not allow editing.
    Refused,
}

/// What becomes of a text that is longer than its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlong {
    /// The row is refused.
    Refused,
    /// It is cut to the column's length, as an assignment in X++ does.
    Cut,
}

/// How a batch goes on after a failure and tells of it. Source: dynamics.md §6.4, where all of this is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailedBatches {
    /// Whether what follows the failure is carried out without `Prefer: odata.continue-on-error`.
    pub go_on: bool,
    /// Whether the batch's own status is that of the first failure instead of 200.
    pub failure_shows: bool,
    /// Whether the answer of a failed change set bears the Content-ID of its first operation instead of the one that
    /// failed. An answer was seen that did: operation 2 had failed, and its text stood under Content-ID 1.
    pub first_is_blamed: bool,
}

/// Resource-based throttling: requests are turned away by the environment's load, not by what a client used.
///
/// Source: dynamics.md §6.5.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// The share of requests that are turned away, from 0 to 1.
    pub share: f64,
    /// Where the row of chances begins: the same seed turns away the same requests.
    #[serde(default)]
    pub seed: u64,
    /// The `Retry-After` header in seconds; `None` leaves it away.
    #[serde(default)]
    pub retry_after_s: Option<u32>,
}

impl Default for FinopsOptions {
    /// The companies of the demonstration data; everything that is asked for correctly is done.
    fn default() -> Self {
        FinopsOptions {
            companies: ["dat", "frrt", "usmf", "ussi"].map(str::to_owned).to_vec(),
            default_company: "usmf".to_owned(),
            client_companies: BTreeMap::new(),
            mapped_clients: None,
            reads_across: false,
            page_rows_max: PAGE_ROWS_MAX,
            facets: false,
            failure_status: 400,
            unwritable: Unwritable::Ignored,
            overlong: Overlong::Refused,
            failed_batches: FailedBatches::default(),
            load: None,
        }
    }
}

impl Default for FailedBatches {
    /// As was observed.
    fn default() -> Self {
        FailedBatches { go_on: true, failure_shows: false, first_is_blamed: true }
    }
}

/// The switches in a fault script, held against their ranges.
pub(in crate::sandbox) fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<FinopsOptions>, D::Error> {
    let Some(mut options) = Option::<FinopsOptions>::deserialize(deserializer)? else { return Ok(None) };
    options.companies.iter_mut().for_each(|company| company.make_ascii_lowercase());
    let defaults = options.client_companies.values_mut().chain([&mut options.default_company]);
    for company in defaults {
        company.make_ascii_lowercase();
        if !options.companies.contains(company) {
            return Err(serde::de::Error::custom(format!("`{company}` is none of the `companies`")));
        }
    }
    let wrong = if !(1..=PAGE_ROWS_MAX).contains(&options.page_rows_max) {
        Some("`page_rows_max` is from 1 to 10000")
    } else if !matches!(options.failure_status, 400 | 500) {
        Some("`failure_status` is 400 or 500")
    } else if options.load.is_some_and(|load| !(0.0..=1.0).contains(&load.share)) {
        Some("`share` is from 0 to 1")
    } else {
        None
    };
    wrong.map_or(Ok(Some(options)), |wrong| Err(serde::de::Error::custom(wrong)))
}

impl FinopsOptions {
    /// The company whose rows a client sees and makes where it names no other.
    pub(super) fn company_of(&self, client_id: &str) -> &str {
        self.client_companies.get(client_id).unwrap_or(&self.default_company)
    }

    /// The company as it is written, for any case of its letters; `None` where there is no such company.
    pub(super) fn company(&self, name: &str) -> Option<&str> {
        self.companies.iter().map(String::as_str).find(|company| company.eq_ignore_ascii_case(name))
    }
}

impl Load {
    /// Whether the request with this number is turned away.
    pub(super) fn turns_away(&self, number: u64) -> bool {
        // SplitMix64: every number gives an independent chance, so requests in any order meet the same share.
        let mut mixed = self.seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let chance = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
        chance < self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_is_turned_away_is_the_one_asked_for() {
        for (share, wanted) in [(0.0, 0..=0), (0.25, 2_400..=2_600), (1.0, 10_000..=10_000)] {
            let load = Load { share, seed: 7, retry_after_s: None };
            let turned = (0..10_000).filter(|&number| load.turns_away(number)).count();
            assert!(wanted.contains(&turned), "{share}: {turned}");
        }
    }

    #[test]
    fn a_company_is_known_in_any_case_and_written_in_lower_case() {
        let options = FinopsOptions::default();
        assert_eq!(options.company("USMF"), Some("usmf"));
        assert_eq!(options.company("zzzz"), None);
    }
}
