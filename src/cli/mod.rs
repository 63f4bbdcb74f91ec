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
    // Two TLS providers are compiled in by our libraries; whichever is asked first would otherwise be in doubt.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("ddu: the TLS provider was chosen twice");
    }
    let cli = Cli::parse();
    if let Command::ReadWorkbook { request } = &cli.command {
        return workbook::serve_child(request);
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
    match runtime.block_on(dispatch(cli)) {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::from(ALL_WRITTEN),
        Err(error) => {
            eprintln!("ddu: {error:#}");
            let wrong = error.chain().any(|cause| cause.is::<SettingsFaults>());
            ExitCode::from(if wrong { WRONG_USAGE } else { FAILED })
        }
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<u8> {
    let config = cli.config.as_deref();
    let mut out = io::stdout().lock();
    match cli.command {
        Command::Run { once } => run_with(config, &RunPlan { stay: !once, tell: once, ..everything() }).await,
        Command::Ingest => run_with(config, &RunPlan { until: Until::Staged, ..everything() }).await,
        Command::Migrate { table } => run_with(config, &RunPlan { take: false, table, ..everything() }).await,
        Command::Demo(args) => demo::run(&args).await,
        Command::Init(args) => init::run(settings(config)?, &args).await,
        Command::Status { json } => status::run(&settings(config)?, json, &mut out).await,
        Command::Log { table, json } => log::run(&settings(config)?, table.as_ref(), json, &mut out).await,
        Command::Show { job, json } => show::run(&settings(config)?, &job, json, &mut out),
        Command::Quarantine(command) => quarantine::run(settings(config)?, command, &mut out).await,
        Command::Check { files, json } => check::run(settings(config)?, &files, json, &mut out).await,
        Command::Sandbox(args) => sandbox::run(&args).await,
        Command::Config(ConfigCommand::Check { json }) => Ok(config_command::check(config, json, &mut out)?),
        Command::Config(ConfigCommand::Schema { of }) => Ok(config_command::schema(of, &mut out)?),
        Command::Doctor { json } => doctor::run(config, json, &mut out).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "ddu", &mut out);
            Ok(ALL_WRITTEN)
        }
        Command::ReadWorkbook { .. } => unreachable!("handled before the runtime starts"),
    }
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
        (written, "workbooks done"),
        (staged, "workbooks staged; `ddu migrate` goes on with them"),
        (returned, "workbooks with rows to fix, see the folder returned/"),
        (
            halted,
            if stopped {
                "jobs left, which the next run goes on with"
            } else {
                "jobs that wait for something; `ddu status` says for what"
            },
        ),
        (held, "files that are held; `ddu status` and the folder status/ say why"),
    ];
    let told: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let text = if told.is_empty() { "nothing to do".to_owned() } else { told.join("\n") };
    eprintln!("{text}");
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

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
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
