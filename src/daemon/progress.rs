//! Tells on standard error how a run comes along: a bar for each table on a terminal, one line a step elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::domain::lifecycle::{Event, SetAsideKind};
use crate::domain::table::TableName;

/// The teller of one run.
pub struct Progress {
    bars: Option<MultiProgress>,
    open: Mutex<HashMap<TableName, ProgressBar>>,
}

impl Progress {
    /// Bars where standard error is a terminal, lines elsewhere.
    pub fn new() -> Self {
        let bars = std::io::stderr()
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5)));
        Progress { bars, open: Mutex::new(HashMap::new()) }
    }

    /// Hears of an event that is on the disk.
    pub fn saw(&self, table: &TableName, event: &Event) {
        if let Some(bars) = &self.bars {
            self.draw(bars, table, event);
        }
        if let Some(line) = step(event) {
            match &self.bars {
                // A full line above the bars stays on the screen; failing to draw one is no reason to stop.
                Some(bars) => drop(bars.println(format!("{table}: {line}"))),
                None => eprintln!("{table}: {line}"),
            }
        }
    }

    fn draw(&self, bars: &MultiProgress, table: &TableName, event: &Event) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Staged(staged) => {
                let style = "{prefix}: {bar:30} {human_pos} of {human_len} rows, {rate} a second, {eta} left";
                let style = ProgressStyle::with_template(style).expect("the template is constant");
                let style = style.with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                    // A text in memory takes everything.
                    write!(out, "{}", HumanCount(state.per_sec() as u64)).ok();
                });
                let bar =
                    bars.add(ProgressBar::new(staged.rows).with_style(style).with_prefix(table.to_string()));
                bar.enable_steady_tick(Duration::from_millis(500));
                if let Some(old) = open.insert(table.clone(), bar) {
                    old.finish_and_clear();
                }
            }
            Event::Preflighted { refused, .. } => {
                open.get(table).inspect(|bar| bar.inc(*refused));
            }
            Event::BatchHeard(heard) => {
                open.get(table).inspect(|bar| bar.inc(u64::from(heard.written) + heard.refused.len() as u64));
            }
            Event::Migrated { .. } => {
                if let Some(bar) = open.remove(table) {
                    bar.finish_and_clear();
                }
            }
            Event::Claimed
            | Event::PreflightBegun
            | Event::BatchHeld { .. }
            | Event::Counted { .. }
            | Event::BatchSent { .. }
            | Event::Recorded
            | Event::RetriesPlanned { .. }
            | Event::GivenBack { .. }
            | Event::SetAside { .. } => {}
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

fn rows(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

/// The line about a step, for those that a person wants to hear of.
fn step(event: &Event) -> Option<String> {
    match event {
        Event::Staged(staged) => Some(format!("{} of sheet `{}` staged", rows(staged.rows), staged.sheet)),
        Event::Preflighted { refused: 0, .. } => Some("checked: every row may go".to_owned()),
        Event::Preflighted { refused, .. } => Some(format!("checked: {} held back", rows(*refused))),
        Event::Migrated { written, refused } => {
            Some(format!("{} written, {refused} refused", rows(*written)))
        }
        Event::RetriesPlanned { .. } => Some("rows that waited for these are tried again".to_owned()),
        Event::GivenBack { file: Some(file) } => Some(format!("returned/{file} went back to the sender")),
        Event::SetAside { kind: SetAsideKind::Duplicate, .. } => {
            Some("a duplicate, nothing is loaded twice".to_owned())
        }
        Event::SetAside { reason, .. } => Some(reason.clone()),
        Event::Claimed
        | Event::PreflightBegun
        | Event::BatchHeld { .. }
        | Event::Counted { .. }
        | Event::BatchSent { .. }
        | Event::BatchHeard(_)
        | Event::Recorded
        | Event::GivenBack { file: None } => None,
    }
}
