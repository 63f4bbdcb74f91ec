//! settle: which workbooks of the dropbox may be taken now, and what every other file is waiting for.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use sha2::{Digest, Sha256};

use super::report::{FileStatus, HELD};
use crate::config::{Settings, Sidecar, SidecarFaults, SidecarFile, default_loads, fold_name, parse_sidecar};
use crate::domain::settings::LoadSettings;
use crate::io::spool::entry::{Entry, EntryKind, Stat, is_whole};
use crate::io::spool::job_dir::SidecarOrigin;
use crate::io::spool::names::shown;
use crate::io::spool::{Spool, SpoolError};

/// A container without its end is given this many quiet periods to arrive before it is taken as it is.
/// Copies over slow lines pause; `folder-traps.md` names gaps of many seconds.
pub const INCOMPLETE_QUIET_PERIODS_MAX: u32 = 15;
/// An owner file older than this, by our own clock, was left behind by a program that died.
pub const OWNER_FILE_WAIT_MAX: Duration = Duration::from_hours(12);
/// Largest sidecar that is read, in bytes.
const SIDECAR_BYTES_MAX: u64 = 4 << 20;

/// A workbook that may be taken now.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Its name's bytes.
    pub name: OsString,
    /// What it looked like.
    pub stat: Stat,
    /// How it is to be loaded: one load for each sheet.
    pub loads: Vec<LoadSettings>,
    /// Where those settings came from, if not from the defaults.
    pub sidecar: Option<(PathBuf, SidecarOrigin)>,
    /// Workbooks that the sidecar speaks of, by folded name.
    pub sidecar_names: Vec<String>,
}

/// What one look at the dropbox found.
#[derive(Debug, Default)]
pub struct Look {
    /// Workbooks to take, in the order in which they are to be taken.
    pub ready: Vec<Ready>,
    /// Every other file with what it waits for.
    pub standing: Vec<FileStatus>,
    /// Whether something waits for time to pass rather than for a person.
    pub settling: bool,
}

/// Remembers how long each file has stood still. All times are of the monotonic clock, from our own first sight.
#[derive(Debug, Default)]
pub struct Settler {
    seen: HashMap<OsString, Sighting>,
    arrivals: u64,
}

#[derive(Debug, Clone)]
struct Sighting {
    stat: Stat,
    first: Instant,
    still: Instant,
    arrival: u64,
}

enum Parsed {
    Good { path: PathBuf, origin: SidecarOrigin, file: SidecarFile, taken: BTreeSet<String> },
    Moving { name: String, what: String },
    Faulty { name: String, faults: String, concerned: Concerned },
}

/// Whom a faulty settings file keeps waiting.
enum Concerned {
    /// It does not read, so nothing is known of what it says: the workbook of its name, or, shared, every one.
    Unread(Option<String>),
    /// It reads, and what it says is wrong.
    Read(SidecarFaults),
}

impl Concerned {
    fn holds(&self, folded: &str) -> bool {
        match self {
            Concerned::Unread(of) => of.as_deref().is_none_or(|of| of == folded),
            Concerned::Read(faults) => faults.concerns(folded),
        }
    }
}

enum Found<'a> {
    Nothing,
    Settings { path: &'a PathBuf, origin: &'a SidecarOrigin, sidecar: &'a Sidecar, names: Vec<String> },
    Held(String),
    Moving(String),
}

impl Settler {
    /// When the first of the files that lie in the dropbox was first seen.
    pub fn oldest(&self) -> Option<Instant> {
        self.seen.values().map(|sighting| sighting.first).min()
    }

    /// Looks at what lies in the dropbox.
    ///
    /// # Errors
    /// When the dropbox cannot be listed.
    pub fn look(&mut self, spool: &Spool, settings: &Settings, now: Instant) -> Result<Look, SpoolError> {
        let entries = spool.list()?;
        self.remember(&entries, now);
        let sidecars = self.sidecars(spool, &entries, settings, now);
        let owners: HashMap<&str, (&str, Instant)> = entries
            .iter()
            .filter_map(|entry| match &entry.kind {
                EntryKind::Owner { of, user } => {
                    Some((of.as_str(), (user.as_str(), self.seen[&entry.name].first)))
                }
                _ => None,
            })
            .collect();
        let mut look = Look::default();
        let mut ready = Vec::new();
        for entry in &entries {
            let name = shown(&entry.name);
            let standing = match &entry.kind {
                EntryKind::Passing | EntryKind::Owner { .. } => continue,
                EntryKind::Foreign(why) => standing(&name, "ignored", why),
                EntryKind::Sidecar(_) => match sidecar_standing(&name, &sidecars, &entries) {
                    Some(standing) => {
                        look.settling |= standing.state == "settling";
                        standing
                    }
                    None => continue,
                },
                EntryKind::Workbook => {
                    match self.workbook(spool, settings, entry, &entries, &sidecars, &owners, now) {
                        Ok(taken) => {
                            let order = taken.loads.iter().filter_map(|load| load.order).min();
                            ready.push((order.unwrap_or(0), self.seen[&entry.name].arrival, taken));
                            continue;
                        }
                        Err(Waiting::ForTime(what)) => {
                            look.settling = true;
                            standing(&name, "settling", &what)
                        }
                        Err(Waiting::ForPerson(what)) => standing(&name, HELD, &what),
                    }
                }
            };
            look.standing.push(standing);
        }
        ready.sort_by_key(|(order, arrival, _)| (*order, *arrival));
        look.ready = ready.into_iter().map(|(_, _, taken)| taken).collect();
        Ok(look)
    }

    fn remember(&mut self, entries: &[Entry], now: Instant) {
        let mut before = std::mem::take(&mut self.seen);
        for entry in entries {
            let sighting = match before.remove(&entry.name) {
                Some(sighting) if sighting.stat == entry.stat => sighting,
                Some(sighting) => Sighting { stat: entry.stat, still: now, ..sighting },
                None => {
                    self.arrivals += 1;
                    Sighting { stat: entry.stat, first: now, still: now, arrival: self.arrivals }
                }
            };
            self.seen.insert(entry.name.clone(), sighting);
        }
    }

    fn sidecars(&self, spool: &Spool, entries: &[Entry], settings: &Settings, now: Instant) -> Vec<Parsed> {
        let mut parsed = Vec::new();
        for entry in entries {
            let EntryKind::Sidecar(scope) = &entry.kind else { continue };
            let name = shown(&entry.name);
            let of = match scope {
                crate::config::SidecarScope::One(workbook) => Some(fold_name(workbook)),
                crate::config::SidecarScope::Many => None,
            };
            let still = now.duration_since(self.seen[&entry.name].still);
            if still < settings.settle {
                parsed.push(Parsed::Moving {
                    name,
                    what: "it to stand still: it changed a moment ago".to_owned(),
                });
                continue;
            }
            let path = spool.root().join(&entry.name);
            let faulty = |faults: String| Parsed::Faulty {
                name: name.clone(),
                faults,
                concerned: Concerned::Unread(of.clone()),
            };
            if entry.stat.size > SIDECAR_BYTES_MAX {
                parsed.push(faulty(format!(
                    "{name}: larger than the {SIDECAR_BYTES_MAX} bytes that settings may have"
                )));
                continue;
            }
            parsed.push(match std::fs::read(&path) {
                Err(error) => faulty(format!("{name}: cannot be read: {error}")),
                Ok(bytes) => match parse_sidecar(&name, &bytes) {
                    // Cut short it may name any workbook; when nothing more comes, those that it names so far.
                    Err(faults)
                        if of.is_none()
                            && faults.break_off()
                            && still < settings.settle * INCOMPLETE_QUIET_PERIODS_MAX =>
                    {
                        Parsed::Moving { name, what: format!("the rest of it: {faults}") }
                    }
                    Err(faults) => Parsed::Faulty {
                        name,
                        faults: faults.to_string(),
                        concerned: Concerned::Read(faults),
                    },
                    Ok(file) => {
                        let sha256 = hex(&Sha256::digest(&bytes));
                        let origin = SidecarOrigin { file: name, sha256, shared: of.is_none() };
                        let taken = if origin.shared {
                            taken_workbooks(spool, &origin.sha256)
                        } else {
                            BTreeSet::new()
                        };
                        Parsed::Good { path, origin, file, taken }
                    }
                },
            });
        }
        parsed
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one look has one set of neighbours; a struct would only rename them"
    )]
    fn workbook(
        &self,
        spool: &Spool,
        settings: &Settings,
        entry: &Entry,
        entries: &[Entry],
        sidecars: &[Parsed],
        owners: &HashMap<&str, (&str, Instant)>,
        now: Instant,
    ) -> Result<Ready, Waiting> {
        let sighting = &self.seen[&entry.name];
        let name = shown(&entry.name);
        let folded = fold_name(&name);
        if let Some((user, since)) = owners.get(folded.as_str())
            && now.duration_since(*since) < OWNER_FILE_WAIT_MAX
        {
            let user = if user.is_empty() { "somebody" } else { user };
            return Err(Waiting::ForPerson(format!(
                "{user} to close it: it is open in a spreadsheet program"
            )));
        }
        let twin = entries.iter().find(|other| {
            other.kind == EntryKind::Workbook
                && other.name != entry.name
                && fold_name(&shown(&other.name)) == folded
        });
        if let Some(twin) = twin {
            return Err(Waiting::ForPerson(format!(
                "one of `{name}` and `{}` to be renamed: they differ only in case or accents, so settings cannot tell them apart",
                shown(&twin.name)
            )));
        }
        let still = now.duration_since(sighting.still);
        if still < settings.settle {
            return Err(Waiting::ForTime("it to stand still: it changed a moment ago".to_owned()));
        }
        let path = spool.root().join(&entry.name);
        match is_whole(&path) {
            Ok(true) => {}
            Ok(false) if still < settings.settle * INCOMPLETE_QUIET_PERIODS_MAX => {
                return Err(Waiting::ForTime("the rest of it: the file has not arrived whole".to_owned()));
            }
            // Whatever it is, it will not become whole; the reader finds the words for it.
            Ok(false) => {}
            Err(error) => {
                return Err(Waiting::ForPerson(format!(
                    "permission to read it: {}; the operator can grant it to the user that ddu runs as",
                    error.source
                )));
            }
        }
        let held = |faults: String| Waiting::ForPerson(format!("its settings to be corrected: {faults}"));
        match find_settings(&folded, sidecars) {
            Found::Held(what) => Err(Waiting::ForPerson(what)),
            Found::Moving(what) => Err(Waiting::ForTime(what)),
            Found::Settings { path, origin, sidecar, names } => Ok(Ready {
                name: entry.name.clone(),
                stat: entry.stat,
                loads: sidecar.loads(&name, settings).map_err(|faults| held(faults.to_string()))?,
                sidecar: Some((path.clone(), origin.clone())),
                sidecar_names: names,
            }),
            Found::Nothing if now.duration_since(sighting.first) < settings.sidecar_wait => {
                Err(Waiting::ForTime(format!("settings that may follow it (`{name}.json`)")))
            }
            Found::Nothing => Ok(Ready {
                name: entry.name.clone(),
                stat: entry.stat,
                loads: default_loads(&name, settings).map_err(|faults| held(faults.to_string()))?,
                sidecar: None,
                sidecar_names: Vec::new(),
            }),
        }
    }
}

enum Waiting {
    ForTime(String),
    ForPerson(String),
}

/// The settings for a workbook: its own sidecar or the one shared file that names it; never defaults in place of a faulty one.
fn find_settings<'a>(folded: &str, sidecars: &'a [Parsed]) -> Found<'a> {
    let mut found: IndexMap<&str, Found<'a>> = IndexMap::new();
    for parsed in sidecars {
        match parsed {
            Parsed::Moving { name, .. } => {
                return Found::Moving(format!(
                    "`{name}` to be complete: it may hold this workbook's settings"
                ));
            }
            Parsed::Faulty { name, faults, concerned } if concerned.holds(folded) => {
                if fold_name(name) == format!("{folded}.json") {
                    return Found::Held(format!("its settings to be corrected: {faults}"));
                }
                let what = format!("`{name}` to be corrected, which may hold its settings: {faults}");
                found.insert(name, Found::Held(what));
            }
            Parsed::Faulty { .. } => {}
            Parsed::Good { path, origin, file, .. } => {
                if let Some(sidecar) = file.entries.get(folded) {
                    let names = file.entries.keys().cloned().collect();
                    found.insert(&origin.file, Found::Settings { path, origin, sidecar, names });
                }
            }
        }
    }
    let with_settings: Vec<&str> = found
        .iter()
        .filter(|(_, what)| matches!(what, Found::Settings { .. }))
        .map(|(name, _)| *name)
        .collect();
    if let [first, second, ..] = with_settings[..] {
        return Found::Held(format!(
            "one of `{first}` and `{second}` to be taken away: both hold settings for it"
        ));
    }
    // Its own sidecar settles the matter even when a shared file is faulty.
    let own =
        found.iter().position(|(_, what)| matches!(what, Found::Settings { origin, .. } if !origin.shared));
    let at = own
        .or(found.iter().position(|(_, what)| matches!(what, Found::Held(_))))
        .or((!found.is_empty()).then_some(0));
    at.and_then(|at| found.swap_remove_index(at)).map_or(Found::Nothing, |(_, what)| what)
}

/// What a settings file itself waits for; a sidecar whose workbook is there says nothing of its own.
fn sidecar_standing(name: &str, sidecars: &[Parsed], entries: &[Entry]) -> Option<FileStatus> {
    let present = |folded: &String| {
        entries.iter().any(|e| e.kind == EntryKind::Workbook && fold_name(&shown(&e.name)) == *folded)
    };
    sidecars.iter().find_map(|parsed| match parsed {
        Parsed::Moving { name: moving, what } if moving == name => Some(standing(name, "settling", what)),
        Parsed::Faulty { name: faulty, faults, .. } if faulty == name => {
            Some(standing(name, HELD, &format!("a correction: {faults}")))
        }
        Parsed::Good { origin, file, taken, .. } if origin.file == name => {
            let awaited = |folded: &&String| !present(folded) && !taken.contains(*folded);
            let missing: Vec<&str> = file.entries.keys().filter(awaited).map(String::as_str).collect();
            (!missing.is_empty()).then(|| standing(name, "waiting", &missing.join(", ")))
        }
        _ => None,
    })
}

/// The workbooks, by folded name, that were taken with a shared settings file of this hash.
pub(super) fn taken_workbooks(spool: &Spool, sha256: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(taken_file(spool, sha256)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Where they are written down.
pub(super) fn taken_file(spool: &Spool, sha256: &str) -> PathBuf {
    spool.work().join("shared").join(sha256)
}

/// Bytes as lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn standing(name: &str, state: &str, waiting_for: &str) -> FileStatus {
    FileStatus { file: name.to_owned(), state: state.to_owned(), waiting_for: Some(waiting_for.to_owned()) }
}
