//! `ddu sandbox`: the rehearsal server by itself, for other tools and for tests.

use std::io::Write;

use anyhow::Context;
use tokio::net::TcpListener;

use super::args::{SandboxArgs, SandboxDialectArg};
use super::{ALL_WRITTEN, WrongUsage};
use crate::daemon::signals::{Wish, Wishes};
use crate::sandbox::{Sandbox, SandboxDialect, SandboxError, SandboxOptions, Script};

/// Serves until SIGTERM or SIGINT.
pub(super) async fn run(args: &SandboxArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut options = SandboxOptions::at(&args.store);
    options.metadata.clone_from(&args.metadata);
    if args.dialect == SandboxDialectArg::Finops {
        options.dialect = SandboxDialect::finops();
    }
    if let Some(path) = &args.faults {
        let script = Script::read(path);
        options.follow(script.map_err(|error| WrongUsage(format!("{:#}", anyhow::Error::from(error))))?);
    }
    let root = match options.dialect {
        SandboxDialect::Dataverse => "api/data/v9.2/",
        SandboxDialect::Finops(_) => "data/",
    };
    if args.protect {
        options.protection.get_or_insert_default();
    }
    if let Some(seconds) = args.token_life {
        options.token_life_s = seconds;
    }
    let mut wishes = Wishes::listen()?;
    let sandbox = Sandbox::open(options).map_err(|error| match error {
        SandboxError::Metadata { .. } => WrongUsage(error.to_string()).into(),
        other => anyhow::Error::from(other),
    })?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another with --listen", args.listen))?;
    writeln!(out, "the sandbox listens on http://{}/{root}", listener.local_addr()?)?;
    out.flush()?;
    let stopped = async move {
        loop {
            if matches!(wishes.next().await, Wish::Stop | Wish::StopNow) {
                break;
            }
        }
    };
    sandbox.serve(listener, stopped).await?;
    Ok(ALL_WRITTEN)
}
