//! The situations: what happens while everybody writes.
//!
//! Takes a site; gives what became of every sample from before the fault until some time after it has healed. Each lasts a
//! bounded time, whoever is not done by then has lost what is missing.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::gateway::Rule;
use crate::options::Options;
use crate::receivers::Make;
use crate::site::{Outcome, Site, now};
use crate::storage::Window;

/// Receivers are away for so long.
const DOWN: Duration = Duration::from_secs(20);
/// Between the end of a process and its next start.
const AWAY: Duration = Duration::from_secs(3);
/// Everybody is over their rate for so long.
const OVER: Duration = Duration::from_secs(45);
/// Before the fault, and after it.
const CALM: Duration = Duration::from_secs(8);
/// A sender may wait for as long as a Retry-After of the gateway's, a minute, and then has a backlog to send.
const PATIENCE: Duration = Duration::from_secs(120);
/// A scrape is stored under the time at which it began.
const SCRAPED: i64 = 2000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Situation {
    Steady,
    ReceiversDown,
    Terminated,
    Killed,
    Rotated,
    OverRate,
    OverRate429,
    Edited,
}

impl Situation {
    pub const ALL: [Self; 8] = [
        Self::Steady,
        Self::ReceiversDown,
        Self::Terminated,
        Self::Killed,
        Self::Rotated,
        Self::OverRate,
        Self::OverRate429,
        Self::Edited,
    ];

    /// On the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::ReceiversDown => "down",
            Self::Terminated => "terminated",
            Self::Killed => "killed",
            Self::Rotated => "rotated",
            Self::OverRate => "over-rate",
            Self::OverRate429 => "over-rate-429",
            Self::Edited => "edited",
        }
    }

    /// In the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::ReceiversDown => "receivers down 20 s",
            Self::Terminated => "gateway SIGTERM",
            Self::Killed => "gateway SIGKILL",
            Self::Rotated => "certificate rotated",
            Self::OverRate => "over rate, 503",
            Self::OverRate429 => "over rate, 429",
            Self::Edited => "policy drops and edits",
        }
    }

    /// Whether it happens to whoever writes past the gateway, too: what the sender speaks to is stopped then.
    pub fn has_control(self) -> bool {
        matches!(
            self,
            Self::Steady | Self::ReceiversDown | Self::Terminated | Self::Killed
        )
    }

    /// # Errors
    /// If something does not start, or cannot be looked at.
    pub fn run(self, options: &Options, make: Make) -> Result<Vec<Outcome>> {
        let begin = Instant::now();
        let rule = if self == Self::Edited { Rule::Edits } else { Rule::Free };
        let mut site = Site::start(options, make, rule)?;
        eprintln!(
            "{}, {}: begins after {} s",
            make.title(),
            self.title(),
            begin.elapsed().as_secs()
        );
        let since = now();
        sleep(CALM);
        self.happen(&mut site)?;
        sleep(CALM);
        let window = Window {
            since,
            until: now() - SCRAPED,
        };
        let outcomes = site.settle(window, PATIENCE)?;
        site.expect_alive()?;
        if outcomes.iter().any(|outcome| self.is_bad(outcome)) {
            eprintln!("what all of them wrote to their logs is in {}", site.keep().display());
        }
        eprintln!(
            "{}, {}: done after {} s",
            make.title(),
            self.title(),
            begin.elapsed().as_secs()
        );
        Ok(outcomes)
    }

    fn happen(self, site: &mut Site) -> Result<()> {
        match self {
            Self::Steady | Self::Edited => sleep(CALM),
            Self::ReceiversDown => {
                site.behind.kill()?;
                site.control.kill()?;
                sleep(DOWN);
                site.behind.start_again()?;
                site.control.start_again()?;
            }
            Self::Terminated => {
                site.gateway.process.terminate()?;
                let gone = Instant::now();
                site.control.terminate()?;
                sleep(AWAY.saturating_sub(gone.elapsed()));
                site.gateway.start_again()?;
                site.control.start_again()?;
            }
            Self::Killed => {
                site.gateway.process.kill()?;
                site.control.kill()?;
                sleep(AWAY);
                site.gateway.start_again()?;
                site.control.start_again()?;
            }
            Self::Rotated => site.gateway.rotate()?,
            Self::OverRate | Self::OverRate429 => {
                let rule = if self == Self::OverRate {
                    Rule::OverRate
                } else {
                    Rule::OverRate429
                };
                site.gateway.hold(rule)?;
                sleep(OVER);
                site.gateway.hold(Rule::Free)?;
            }
        }
        Ok(())
    }

    /// Whether the gateway lost more than the control did, or anything where nothing happens to the control.
    pub fn is_bad(self, outcome: &Outcome) -> bool {
        outcome.parts.iter().any(|part| {
            let allowed = if self.has_control() { part.control.wrong() } else { 0 };
            part.gateway.sent == 0 || part.gateway.wrong() > allowed
        })
    }
}
