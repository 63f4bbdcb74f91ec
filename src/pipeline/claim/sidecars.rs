//! Sidecars of claimed workbooks: each follows its workbook, a shared one the last of its workbooks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{Job, is_there};
use crate::config::{fold_name, parse_sidecar};
use crate::domain::lifecycle::State;
use crate::io::durable;
use crate::io::spool::job_dir::SidecarOrigin;
use crate::io::spool::names::shown;
use crate::pipeline::settle::{Ready, hex, taken_file, taken_workbooks};
use crate::pipeline::{Halt, Pipeline};

impl Pipeline {
    /// Whether the settings that the look found are still those that lie there: many workbooks may have been taken since.
    /// `seen` is what lies at the settings' place, where that was read already.
    pub(super) fn settings_stand(
        &self,
        ready: &Ready,
        seen: Entry<'_, Option<PathBuf>, Option<String>>,
    ) -> bool {
        match &ready.sidecar {
            Some((path, origin)) => {
                let read = || std::fs::read(path).ok().map(|bytes| hex(&Sha256::digest(&bytes)));
                seen.or_insert_with(read).as_ref() == Some(&origin.sha256)
            }
            None => {
                let own = format!("{}.json", shown(&ready.name));
                self.spool.root().join(own).symlink_metadata().is_err()
            }
        }
    }

    /// Moves the workbooks' own sidecars after them; a shared one follows its last workbook.
    pub(super) fn take_sidecars(&self, jobs: &mut [Result<Option<Job>, Halt>]) {
        let mut shared: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, slot) in jobs.iter_mut().enumerate() {
            let Ok(Some(job)) = slot else { continue };
            let Some(origin) = job.record.sidecar.as_ref() else { continue };
            if job.journal.state() != State::Claiming {
                continue;
            }
            if origin.shared {
                shared.entry(format!("{} {}", origin.sha256, origin.file)).or_default().push(at);
            } else if let Err(halt) = self.take_own_sidecar(job, origin) {
                *slot = Err(halt);
            }
        }
        for places in shared.into_values() {
            let of: Vec<&Job> = places.iter().filter_map(|at| jobs[*at].as_ref().ok()?.as_ref()).collect();
            if self.take_shared_sidecar(&of).is_err() {
                // Each asks for itself and hears why.
                for at in places {
                    if let Ok(Some(job)) = &jobs[at]
                        && let Err(halt) = self.take_shared_sidecar(&[job])
                    {
                        jobs[at] = Err(halt);
                    }
                }
            }
        }
    }

    /// The sidecar's bytes, while it lies there as it was read; another one of its name is for the next workbook.
    fn sidecar_there(&self, origin: &SidecarOrigin) -> Option<(PathBuf, Vec<u8>)> {
        let from = self.spool.root().join(&origin.file);
        let bytes = std::fs::read(&from).ok()?;
        (hex(&Sha256::digest(&bytes)) == origin.sha256).then_some((from, bytes))
    }

    fn take_own_sidecar(&self, job: &Job, origin: &SidecarOrigin) -> Result<(), Halt> {
        let Some((from, _)) = self.sidecar_there(origin) else { return Ok(()) };
        let to = job.dir.sidecar(origin);
        // Taken before a crash; what lies in the dropbox under its name is for the next workbook.
        if !is_there(&to)? {
            durable::rename_noreplace(&from, &to)?;
        }
        Ok(())
    }

    /// Notes whose settings were taken; the last one of all takes the sidecar along.
    fn take_shared_sidecar(&self, jobs: &[&Job]) -> Result<(), Halt> {
        let _turn = self.spool.sharing();
        let Some(last) = jobs.last() else { return Ok(()) };
        let Some(origin) = last.record.sidecar.as_ref() else { return Ok(()) };
        let Some((from, bytes)) = self.sidecar_there(origin) else { return Ok(()) };
        let names = parse_sidecar(&origin.file, &bytes)
            .map(|file| file.entries.keys().cloned().collect::<Vec<_>>())
            .unwrap_or_default();
        let ledger = taken_file(&self.spool, &origin.sha256);
        let mut taken = taken_workbooks(&self.spool, &origin.sha256);
        taken.extend(jobs.iter().map(|job| fold_name(&job.record.workbook)));
        if names.iter().any(|name| !taken.contains(name)) {
            durable::create_dir_all(&self.spool.work().join("shared"))?;
            let lines: Vec<String> = taken.into_iter().collect();
            durable::replace(&ledger, lines.join("\n").as_bytes())?;
            return Ok(());
        }
        let to = last.dir.sidecar(origin);
        if !is_there(&to)? {
            durable::rename_noreplace(&from, &to)?;
        }
        Ok(durable::remove(&ledger)?)
    }
}
