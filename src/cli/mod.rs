//! Arguments in, exit codes out: results on standard output, progress and logs on standard error.

pub mod args;

pub mod books;

mod check;

pub mod config_command;

pub mod demo;

mod doctor;

mod init;

mod log;

mod quarantine;

mod sandbox;

mod show;

mod status;

mod undo;

mod validate;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use jiff::Timestamp;
use tracing_subscriber::filter::LevelFilter;

use crate::config::{Settings, SettingsFaults};
use crate::daemon::logging::{self, LogFormat};
use crate::daemon::run::{RunEnd, RunPlan, run};
use crate::io::workbook;
use crate::pipeline::advance::Until;
use args::{Cli, Command, ConfigCommand};

/// Every row was written, or there was nothing to do.
const ALL_WRITTEN: u8 = 0;
/// Something failed; the message says what.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const WRONG_USAGE: u8 = 2;
/// Finished, but rows are in quarantine, or files went back or are held.
const ROWS_LEFT: u8 = 3;

/// Runs the program.
pub fn main() -> ExitCode {
    // A reader is started for every workbook and needs nothing of what follows.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|command| command == workbook::CHILD_COMMAND)
        && let Some(request) = arguments.next().and_then(|request| request.into_string().ok())
    {
        return workbook::serve_child(&request);
    }
    // Two TLS providers are compiled in by our libraries; whichever is asked first would otherwise be in doubt.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("ddu: the TLS provider was chosen twice");
    }
    let cli = Cli::parse();
    if let Command::ReadWorkbook { request } = &cli.command {
        return workbook::serve_child(&request.concat());
    }
    let level = match &cli.command {
        Command::Run { once: false } | Command::Sandbox(_) => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    let format = if cli.json_logs { LogFormat::Json } else { LogFormat::Text };
    if let Err(error) = logging::init(format, level) {
        eprintln!("ddu: {error}");
        return ExitCode::from(WRONG_USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ddu: cannot start: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let mut out = Out { inner: io::stdout().lock(), closed: false };
    let done = runtime.block_on(dispatch(cli, &mut out)).and_then(|code| {
        out.flush()?;
        Ok(code)
    });
    // What still runs was left behind on purpose: a second signal to stop means at once.
    runtime.shutdown_background();
    match done {
        Ok(code) => ExitCode::from(code),
        Err(_) if out.closed => ExitCode::from(ALL_WRITTEN),
        Err(error) => {
            eprintln!("ddu: {error:#}");
            let wrong = error.chain().any(|cause| cause.is::<SettingsFaults>() || cause.is::<WrongUsage>());
            ExitCode::from(if wrong { WRONG_USAGE } else { FAILED })
        }
    }
}

async fn dispatch(cli: Cli, out: &mut Out) -> anyhow::Result<u8> {
    let config = cli.config.as_deref();
    match cli.command {
        Command::Run { once } => run_with(config, &RunPlan { stay: !once, tell: once, ..everything() }).await,
        Command::Ingest => run_with(config, &RunPlan { until: Until::Staged, ..everything() }).await,
        Command::Migrate { table } => run_with(config, &RunPlan { take: false, table, ..everything() }).await,
        Command::Demo(args) => demo::run(&args, out).await,
        Command::Init(args) => init::run(settings(config)?, &args).await,
        Command::Status { json } => status::run(&settings(config)?, json, out).await,
        Command::Log { table, json } => log::run(&settings(config)?, table.as_ref(), json, out).await,
        Command::Show { job, json } => show::run(&settings(config)?, &job, json, out),
        Command::Quarantine(command) => quarantine::run(settings(config)?, command, out).await,
        Command::Validate(args) => validate::run(settings(config)?, &args, out).await,
        Command::Undo(args) => undo::run(settings(config)?, &args, out).await,
        Command::Check { files, json } => check::run(settings(config)?, &files, json, out).await,
        Command::Sandbox(args) => sandbox::run(&args, out).await,
        Command::Config(ConfigCommand::Check { json }) => Ok(config_command::check(config, json, out)?),
        Command::Config(ConfigCommand::Schema { of }) => Ok(config_command::schema(of, out)?),
        Command::Doctor { json } => doctor::run(config, json, out).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut visible(&Cli::command()), "ddu", &mut script);
            out.write_all(&script)?;
            Ok(ALL_WRITTEN)
        }
        Command::ReadWorkbook { .. } => unreachable!("handled before the runtime starts"),
    }
}

/// The command line without what is only for our own processes.
fn visible(whole: &clap::Command) -> clap::Command {
    let subcommands = whole.get_subcommands().filter(|command| !command.is_hide_set());
    clap::Command::new("ddu")
        .version(env!("CARGO_PKG_VERSION"))
        .args(whole.get_arguments().cloned())
        .subcommands(subcommands.cloned())
}

/// A run that handles all there is and comes back.
fn everything() -> RunPlan {
    RunPlan { stay: false, take: true, until: Until::Archived, table: None, tell: true }
}

async fn run_with(config: Option<&Path>, plan: &RunPlan) -> anyhow::Result<u8> {
    let end = run(settings(config)?, this_program()?, now, plan.clone()).await?;
    if !plan.stay {
        tell_end(end);
    }
    Ok(code_of(end, plan))
}

/// The exit code of a run.
fn code_of(end: RunEnd, plan: &RunPlan) -> u8 {
    let left_open = end.halted > 0 && plan.until == Until::Archived && plan.table.is_none();
    if plan.stay {
        ALL_WRITTEN
    } else if left_open || end.stopped {
        FAILED
    } else if end.returned > 0 || end.held > 0 {
        ROWS_LEFT
    } else {
        ALL_WRITTEN
    }
}

fn tell_end(end: RunEnd) {
    let RunEnd { written, returned, staged, halted, held, stopped } = end;
    let parts = [
        (written, ["workbook is", "workbooks are"], "done"),
        (staged, ["workbook is", "workbooks are"], "staged; `ddu migrate` goes on"),
        (returned, ["workbook has", "workbooks have"], "rows to fix or went back, see the folder returned/"),
        (
            halted,
            ["workbook is", "workbooks are"],
            if stopped {
                "not done yet; the next run goes on"
            } else {
                "waiting for something; `ddu status` says for what"
            },
        ),
        (held, ["file is", "files are"], "held; `ddu status` and the folder status/ say why"),
    ];
    for (count, [one, several], what) in parts.iter().filter(|(count, ..)| *count > 0) {
        eprintln!("{} {what}", counted(*count as u64, one, several));
    }
    if parts.iter().all(|(count, ..)| *count == 0) {
        eprintln!("{}", if stopped { "stopped" } else { "nothing to do" });
    }
}

/// The number with the word that goes with it.
fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

fn settings(config: Option<&Path>) -> anyhow::Result<Settings> {
    let path = Settings::find(config)?;
    Ok(Settings::load(&path)?)
}

fn this_program() -> anyhow::Result<std::path::PathBuf> {
    std::env::current_exe().context("cannot find the program's own file, which also reads workbooks")
}

#[expect(clippy::disallowed_methods, reason = "the wall clock enters here and is passed on")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The command line asks for something that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUsage(String);

/// Standard output, which knows when nobody reads it any more: `ddu log | head` is no failure.
struct Out {
    inner: io::StdoutLock<'static>,
    closed: bool,
}

impl Out {
    fn heard<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.closed |= result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        result
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes);
        self.heard(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.heard(flushed)
    }
}

/// Writes rows as a table with aligned columns; numbers stand to the right.
fn write_table(out: &mut dyn Write, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([header[at].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let number =
        |at: usize| !rows.is_empty() && rows.iter().all(|row| row[at].chars().all(|c| c.is_ascii_digit()));
    let numbers: Vec<bool> = (0..header.len()).map(number).collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (at, cell) in cells.enumerate() {
            let gap = " ".repeat(widths[at] - cell.chars().count());
            text += &if numbers[at] { format!("{gap}{cell}  ") } else { format!("{cell}{gap}  ") };
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(&mut header.iter().copied())?;
    for row in rows {
        line(&mut row.iter().map(String::as_str))?;
    }
    Ok(())
}
