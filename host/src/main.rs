//! The `gauntlet` program: hands the command line to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|command| command == "compile") {
        return gauntlet::policy::compile::child_main();
    }
    ExitCode::SUCCESS
}
