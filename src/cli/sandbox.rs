//! `ddu sandbox`: the rehearsal server by itself, for other tools and for tests.

use std::io::Write;

use anyhow::Context;
use tokio::net::TcpListener;

use super::args::SandboxArgs;
use super::{ALL_WRITTEN, WrongUsage};
use crate::daemon::signals::{Wish, Wishes};
use crate::sandbox::{Sandbox, SandboxOptions, Script};

/// Serves until SIGTERM or SIGINT.
pub(super) async fn run(args: &SandboxArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    if args.dialect != "dataverse" {
        let text = format!("the sandbox speaks `dataverse`; `{}` comes with a later release", args.dialect);
        return Err(WrongUsage(text).into());
    }
    let mut options = SandboxOptions::at(&args.store);
    if let Some(path) = &args.faults {
        let script = Script::read(path);
        options.follow(script.map_err(|error| WrongUsage(format!("{:#}", anyhow::Error::from(error))))?);
    }
    if args.protect {
        options.protection.get_or_insert_default();
    }
    if let Some(seconds) = args.token_life {
        options.token_life_s = seconds;
    }
    let mut wishes = Wishes::listen()?;
    let sandbox = Sandbox::open(options)?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another with --listen", args.listen))?;
    writeln!(out, "the sandbox listens on http://{}/api/data/v9.2/", listener.local_addr()?)?;
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
