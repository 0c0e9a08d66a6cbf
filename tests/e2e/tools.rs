//! Commands that answer a question: how they are run, and how they end.

use std::path::Path;
use std::process::{Command, Output};

use gauntlet_tests::Setup;
use gauntlet_tests::gateway::keeping_nothing;
use serde_json::{Value, json};

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    #[track_caller]
    pub fn with(self, code: i32, parts: &[&str]) -> Self {
        let all = format!("{}{}", self.out, self.err);
        assert_eq!(self.code, code, "{all}");
        for part in parts {
            assert!(all.contains(part), "{part:?} is not in:\n{all}");
        }
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Ended {
    fn from(ended: Output) -> Self {
        Self {
            code: ended.status.code().unwrap(),
            out: String::from_utf8(ended.stdout).unwrap(),
            err: String::from_utf8(ended.stderr).unwrap(),
        }
    }
}

pub fn gauntlet(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gauntlet"));
    keeping_nothing(command.args(arguments)).output().unwrap().into()
}

/// On a thread of its own, for tests that have something to do meanwhile.
pub async fn gauntlet_meanwhile(arguments: Vec<String>) -> Ended {
    let run = move || gauntlet(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// An upstream that nobody needs to be behind.
pub fn unreached() -> Setup {
    Setup::new()
        .set("/upstreams/soft", json!({"endpoints": ["http://127.0.0.1:1"]}))
        .set("/upstreams/kube", json!({"endpoints": ["http://127.0.0.1:1"]}))
}
