//! The `ddu` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ddu::cli::main()
}
