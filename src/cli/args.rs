//! The command line: what can be asked, and how.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::config_command::SchemaOf;
use crate::domain::job::JobId;
use crate::domain::table::TableName;

/// Moves Excel workbooks dropped into a folder into Microsoft Dynamics 365, row by row, exactly once.
#[derive(Debug, Parser)]
#[command(
    name = "ddu",
    version,
    after_help = "Start with `ddu demo`: it shows the whole journey and needs nothing.\n\nExit codes: 0 all rows written, 1 failed, 2 wrong usage or configuration, 3 finished, but rows are in quarantine or files were returned."
)]
pub struct Cli {
    /// The configuration; without it `config.json` here, then /etc/ddu/config.json
    #[arg(long, global = true, value_name = "FILE", env = "DDU_CONFIG")]
    pub config: Option<PathBuf>,
    /// Write logs as JSON, one object a line
    #[arg(long, global = true)]
    pub json_logs: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the dropbox and take every workbook through to Dynamics
    Run {
        /// Handle what is there, then exit
        #[arg(long)]
        once: bool,
    },
    /// See the whole journey on example workbooks, against a rehearsal server, in a folder of its own
    Demo(DemoArgs),
    /// Make the folders and tables; with switches, start from a clean slate
    Init(InitArgs),
    /// Stage what lies in the dropbox, write nothing to Dynamics yet
    Ingest,
    /// Write what is staged to Dynamics
    Migrate {
        /// Only this table
        #[arg(long, value_name = "TABLE", value_parser = table_name)]
        table: Option<TableName>,
    },
    /// Show tables, jobs and what files in the dropbox wait for
    Status {
        /// As one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show the migration log, one line a batch
    Log {
        /// Only this table
        #[arg(long, value_name = "TABLE", value_parser = table_name)]
        table: Option<TableName>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show everything about one job
    Show {
        /// The job's id, as in status, log and file names
        #[arg(value_parser = job_id)]
        job: JobId,
        /// As one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Look at refused rows, or get them as a workbook to fix
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Count what was written and read it back from Dynamics
    ///
    /// Says of each table what was checked and what is not as it was sent, and notes the outcome in the state table. Works
    /// beside a running daemon. Ends with 3 where something is not as it was written.
    Validate(ValidateArgs),
    /// Delete what a job created in Dynamics
    ///
    /// Shows what it would do and asks. The last record goes first. Records that the job only updated, or that were changed
    /// since, stay and are listed with the reason. Not beside a running daemon. Ends with 3 where records stayed that the
    /// job created. Killed, it goes on when it is called again, or when the daemon starts.
    Undo(UndoArgs),
    /// Hold workbooks against the target and say what would be refused; nothing is written
    Check {
        /// The workbooks; a sidecar beside one is used
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Run the rehearsal server by itself
    Sandbox(SandboxArgs),
    /// Check or describe the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Find out why it does not work
    Doctor {
        /// As one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Write completions for a shell to standard output
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Reads a workbook from standard input for another ddu process
    #[command(hide = true)]
    ReadWorkbook {
        /// What to read, as JSON, in pieces
        request: Vec<String>,
    },
}

/// Switches of `ddu validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The table; without it every one
    #[arg(value_parser = table_name)]
    pub table: Option<TableName>,
    /// Read so many of its records back, always the same ones
    #[arg(long, value_name = "N", default_value_t = 200, conflicts_with = "all", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sample: u32,
    /// Read every record back
    #[arg(long)]
    pub all: bool,
    /// Write a sign-off workbook, signoff.TABLE.xlsx, into this folder
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// One JSON object a table and line
    #[arg(long)]
    pub json: bool,
}

/// Switches of `ddu undo`.
#[derive(Debug, Args)]
pub struct UndoArgs {
    /// The job's id, as in status, log and file names
    #[arg(value_parser = job_id)]
    pub job: JobId,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// One JSON object a table and line, with every record that stays
    #[arg(long)]
    pub json: bool,
}

/// Switches of `ddu demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where the demo keeps its files
    #[arg(long, value_name = "DIR", default_value = "ddu-demo")]
    pub dir: PathBuf,
    /// Go on with an earlier demo: fix the returned workbooks as a person would, drop them, see them heal
    #[arg(long)]
    pub fix: bool,
}

/// Switches of `ddu init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Drop the database and the quarantine database with all their tables first
    #[arg(long)]
    pub drop_database: bool,
    /// Remove the checkpoints of streaming sources first
    #[arg(long)]
    pub reset_checkpoints: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Switches of `ddu sandbox`.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// Where it listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// The product that it stands for
    #[arg(long, value_enum, default_value = "dataverse")]
    pub dialect: SandboxDialectArg,
    /// An exported $metadata document whose entities it serves in place of the built-in ones
    #[arg(long, value_name = "FILE")]
    pub metadata: Option<PathBuf>,
    /// Where it keeps its rows
    #[arg(long, value_name = "FILE", default_value = "sandbox.sqlite")]
    pub store: PathBuf,
    /// A script of faults to answer with, and of limits, as JSON
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Enforce the service protection limits, the documented ones unless the script has others
    #[arg(long)]
    pub protect: bool,
    /// How long a token lives, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub token_life: Option<u64>,
}

/// The products that the rehearsal server can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SandboxDialectArg {
    /// The Dataverse Web API
    Dataverse,
    /// The OData service of Finance & Operations
    Finops,
}

/// What `ddu quarantine` can do.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// Count the refused rows of each table
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show the refused rows of a table with their reasons
    Show {
        /// The table
        #[arg(value_parser = table_name)]
        table: TableName,
        /// One JSON object a line, with the table's columns
        #[arg(long)]
        json: bool,
    },
    /// Write the refused rows of a table to a workbook; fixed and dropped, it heals them
    Export {
        /// The table
        #[arg(value_parser = table_name)]
        table: TableName,
        /// The workbook to write
        #[arg(short, long, value_name = "F.xlsx")]
        output: PathBuf,
    },
}

/// What `ddu config` can do.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration and show what is in force
    Check {
        /// As one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the configuration or of sidecars
    Schema {
        /// Of what
        #[arg(long, value_enum, default_value = "config")]
        of: SchemaOf,
    },
}

fn table_name(text: &str) -> Result<TableName, String> {
    TableName::try_from(text.to_owned()).map_err(|error| error.to_string())
}

fn job_id(text: &str) -> Result<JobId, String> {
    JobId::try_from(text.to_owned())
}
