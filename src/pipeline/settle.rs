//! settle: which workbooks of the dropbox may be taken now, and what every other file is waiting for.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use sha2::{Digest, Sha256};

use super::report::{FileStatus, HELD};
use crate::config::{Settings, Sidecar, SidecarFaults, SidecarFile, default_loads, fold_name, parse_sidecar};
use crate::domain::settings::LoadSettings;
use crate::io::durable::doing;
use crate::io::spool::entry::{Entry, EntryKind, Stat, is_whole, open_dropped};
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

/// A file as it was seen, with what its content was found to be; a change of the file makes that void.
#[derive(Debug)]
struct Sighting {
    /// The name as people see it, and folded: looks compare all names with each other.
    name: String,
    folded: String,
    stat: Stat,
    first: Instant,
    still: Instant,
    arrival: u64,
    whole: bool,
    read: Option<ReadSidecar>,
}

#[derive(Debug, Clone)]
struct ReadSidecar {
    sha256: String,
    parsed: Result<Arc<SidecarFile>, SidecarFaults>,
}

enum Parsed {
    Good { path: PathBuf, origin: SidecarOrigin, file: Arc<SidecarFile>, taken: BTreeSet<String> },
    Moving { name: String, what: String, of: Option<String> },
    Faulty { name: String, faults: String, concerned: Concerned },
}

/// What lies around a workbook, in forms that are quick to ask: a dropbox may hold tens of thousands of names.
struct Around<'a> {
    /// Who has a workbook open, by its folded name, and since when.
    owners: HashMap<&'a str, (&'a str, Instant)>,
    /// Workbooks by folded name.
    workbooks: HashMap<String, Vec<OsString>>,
    sidecars: &'a [Parsed],
    /// The settings files that speak of a workbook, by its folded name.
    speak: HashMap<&'a str, Vec<usize>>,
    /// The settings files that may speak of any.
    may_speak: Vec<usize>,
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
    Settings { path: &'a PathBuf, origin: &'a SidecarOrigin, sidecar: &'a Sidecar },
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
        let around = self.around(&entries, &sidecars);
        let mut parsed = sidecars.iter();
        let mut look = Look::default();
        let mut ready = Vec::new();
        for entry in &entries {
            let sighting = self.seen.get_mut(&entry.name).expect("every entry was remembered above");
            let standing = match &entry.kind {
                EntryKind::Passing | EntryKind::Owner { .. } => continue,
                EntryKind::Foreign(why) => standing(&sighting.name, "ignored", why),
                EntryKind::Sidecar(_) => {
                    match parsed.next().and_then(|parsed| sidecar_standing(parsed, &around)) {
                        Some(standing) => {
                            look.settling |= standing.state == "settling";
                            standing
                        }
                        None => continue,
                    }
                }
                EntryKind::Workbook => match sighting.workbook(spool, settings, entry, &around, now) {
                    Ok(taken) => {
                        let order = taken.loads.iter().filter_map(|load| load.order).min();
                        ready.push((order.unwrap_or(0), sighting.arrival, taken));
                        continue;
                    }
                    Err(Waiting::ForTime(what)) => {
                        look.settling = true;
                        standing(&sighting.name, "settling", &what)
                    }
                    Err(Waiting::ForPerson(what)) => standing(&sighting.name, HELD, &what),
                    Err(Waiting::Gone) => continue,
                },
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
                Some(sighting) => {
                    Sighting { stat: entry.stat, still: now, whole: false, read: None, ..sighting }
                }
                None => {
                    self.arrivals += 1;
                    let name = shown(&entry.name);
                    Sighting {
                        folded: fold_name(&name),
                        name,
                        stat: entry.stat,
                        first: now,
                        still: now,
                        arrival: self.arrivals,
                        whole: false,
                        read: None,
                    }
                }
            };
            self.seen.insert(entry.name.clone(), sighting);
        }
    }

    /// The settings files, one for each in the order of the entries.
    fn sidecars(
        &mut self,
        spool: &Spool,
        entries: &[Entry],
        settings: &Settings,
        now: Instant,
    ) -> Vec<Parsed> {
        let mut parsed = Vec::new();
        for entry in entries {
            let EntryKind::Sidecar(scope) = &entry.kind else { continue };
            let sighting = self.seen.get_mut(&entry.name).expect("every entry was remembered before");
            let name = sighting.name.clone();
            let of = match scope {
                crate::config::SidecarScope::One(workbook) => Some(fold_name(workbook)),
                crate::config::SidecarScope::Many => None,
            };
            let still = now.duration_since(sighting.still);
            if still < settings.settle {
                let what = "it to stand still: it changed a moment ago".to_owned();
                parsed.push(Parsed::Moving { name, what, of });
                continue;
            }
            let path = spool.root().join(&entry.name);
            let read = match sighting.read(&path) {
                Ok(read) => read.clone(),
                Err(faults) => {
                    parsed.push(Parsed::Faulty { name, faults, concerned: Concerned::Unread(of) });
                    continue;
                }
            };
            parsed.push(match read.parsed {
                // Cut short it may name any workbook; when nothing more comes, those that it names so far.
                Err(faults)
                    if of.is_none()
                        && faults.break_off()
                        && still < settings.settle * INCOMPLETE_QUIET_PERIODS_MAX =>
                {
                    Parsed::Moving { name, what: format!("the rest of it: {faults}"), of }
                }
                Err(faults) => {
                    Parsed::Faulty { name, faults: faults.to_string(), concerned: Concerned::Read(faults) }
                }
                Ok(file) => {
                    let origin = SidecarOrigin { file: name, sha256: read.sha256, shared: of.is_none() };
                    let taken =
                        if origin.shared { taken_workbooks(spool, &origin.sha256) } else { BTreeSet::new() };
                    Parsed::Good { path, origin, file, taken }
                }
            });
        }
        parsed
    }

    fn around<'a>(&self, entries: &'a [Entry], sidecars: &'a [Parsed]) -> Around<'a> {
        let (mut owners, mut workbooks) = (HashMap::new(), HashMap::<String, Vec<OsString>>::new());
        for entry in entries {
            let sighting = &self.seen[&entry.name];
            match &entry.kind {
                EntryKind::Owner { of, user } => {
                    owners.insert(of.as_str(), (user.as_str(), sighting.first));
                }
                EntryKind::Workbook => {
                    workbooks.entry(sighting.folded.clone()).or_default().push(entry.name.clone());
                }
                EntryKind::Sidecar(_) | EntryKind::Passing | EntryKind::Foreign(_) => {}
            }
        }
        let (mut speak, mut may_speak) = (HashMap::<&str, Vec<usize>>::new(), Vec::new());
        for (at, parsed) in sidecars.iter().enumerate() {
            match parsed {
                Parsed::Good { file, .. } => {
                    for folded in file.entries.keys() {
                        speak.entry(folded).or_default().push(at);
                    }
                }
                Parsed::Moving { of: Some(folded), .. } => speak.entry(folded).or_default().push(at),
                Parsed::Moving { of: None, .. } | Parsed::Faulty { .. } => may_speak.push(at),
            }
        }
        Around { owners, workbooks, sidecars, speak, may_speak }
    }
}

impl Sighting {
    /// What the settings file says, read once for as long as it does not change.
    fn read(&mut self, path: &Path) -> Result<&ReadSidecar, String> {
        if self.read.is_none() {
            let name = &self.name;
            if self.stat.size > SIDECAR_BYTES_MAX {
                return Err(format!(
                    "{name}: larger than the {SIDECAR_BYTES_MAX} bytes that settings may have"
                ));
            }
            // A link or a pipe may have taken its place since it was looked at.
            let mut bytes = Vec::new();
            open_dropped(path)
                .and_then(|(file, _)| {
                    doing(file.take(SIDECAR_BYTES_MAX).read_to_end(&mut bytes), "read", path)
                })
                .map_err(|error| format!("{name}: cannot be read: {}", error.source))?;
            let parsed = parse_sidecar(name, &bytes).map(Arc::new);
            self.read = Some(ReadSidecar { sha256: hex(&Sha256::digest(&bytes)), parsed });
        }
        Ok(self.read.as_ref().expect("it was read above"))
    }

    fn workbook(
        &mut self,
        spool: &Spool,
        settings: &Settings,
        entry: &Entry,
        around: &Around<'_>,
        now: Instant,
    ) -> Result<Ready, Waiting> {
        if let Some((user, since)) = around.owners.get(self.folded.as_str())
            && now.duration_since(*since) < OWNER_FILE_WAIT_MAX
        {
            let user = if user.is_empty() { "somebody" } else { user };
            return Err(Waiting::ForPerson(format!(
                "{user} to close it: it is open in a spreadsheet program"
            )));
        }
        let twin = around.workbooks[&self.folded].iter().find(|other| **other != entry.name);
        if let Some(twin) = twin {
            return Err(Waiting::ForPerson(format!(
                "one of `{}` and `{}` to be renamed: they differ only in case or accents, so settings cannot tell them apart",
                self.name,
                shown(twin)
            )));
        }
        let still = now.duration_since(self.still);
        if still < settings.settle {
            return Err(Waiting::ForTime("it to stand still: it changed a moment ago".to_owned()));
        }
        if !self.whole {
            match is_whole(&spool.root().join(&entry.name)) {
                Ok(whole) => self.whole = whole,
                Err(error) if error.is_missing() => return Err(Waiting::Gone),
                Err(error) => {
                    return Err(Waiting::ForPerson(format!(
                        "permission to read it: {}; the operator can grant it to the user that ddu runs as",
                        error.source
                    )));
                }
            }
        }
        // After that, whatever it is, it will not become whole; the reader finds the words for it.
        if !self.whole && still < settings.settle * INCOMPLETE_QUIET_PERIODS_MAX {
            return Err(Waiting::ForTime("the rest of it: the file has not arrived whole".to_owned()));
        }
        let name = &self.name;
        let held = |faults: String| Waiting::ForPerson(format!("its settings to be corrected: {faults}"));
        match find_settings(&self.folded, around) {
            Found::Held(what) => Err(Waiting::ForPerson(what)),
            Found::Moving(what) => Err(Waiting::ForTime(what)),
            Found::Settings { path, origin, sidecar } => Ok(Ready {
                name: entry.name.clone(),
                stat: entry.stat,
                loads: sidecar.loads(name, settings).map_err(|faults| held(faults.to_string()))?,
                sidecar: Some((path.clone(), origin.clone())),
            }),
            Found::Nothing if now.duration_since(self.first) < settings.sidecar_wait => {
                Err(Waiting::ForTime(format!("settings that may follow it (`{name}.json`)")))
            }
            Found::Nothing => Ok(Ready {
                name: entry.name.clone(),
                stat: entry.stat,
                loads: default_loads(name, settings).map_err(|faults| held(faults.to_string()))?,
                sidecar: None,
            }),
        }
    }
}

enum Waiting {
    ForTime(String),
    ForPerson(String),
    /// It went away while it was looked at.
    Gone,
}

/// The settings for a workbook: its own sidecar or the one shared file that names it; never defaults in place of a faulty one.
fn find_settings<'a>(folded: &str, around: &Around<'a>) -> Found<'a> {
    let mut found: IndexMap<&str, Found<'a>> = IndexMap::new();
    let mut asked = around.may_speak.clone();
    asked.extend(around.speak.get(folded).into_iter().flatten());
    asked.sort_unstable();
    for parsed in asked.into_iter().map(|at| &around.sidecars[at]) {
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
                    found.insert(&origin.file, Found::Settings { path, origin, sidecar });
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
fn sidecar_standing(parsed: &Parsed, around: &Around<'_>) -> Option<FileStatus> {
    match parsed {
        Parsed::Moving { name, what, .. } => Some(standing(name, "settling", what)),
        Parsed::Faulty { name, faults, .. } => Some(standing(name, HELD, &format!("a correction: {faults}"))),
        Parsed::Good { origin, file, taken, .. } => {
            let awaited =
                |folded: &&String| !around.workbooks.contains_key(*folded) && !taken.contains(*folded);
            let missing: Vec<&str> = file.entries.keys().filter(awaited).map(String::as_str).collect();
            (!missing.is_empty()).then(|| standing(&origin.file, "waiting", &missing.join(", ")))
        }
    }
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
