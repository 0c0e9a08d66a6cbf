//! One promise in numbers: what is counted, what was promised, and what became of it.
//!
//! Takes measured values, gives them in words. Asserts nothing: a number is for people to read.

/// What a number counts; decides how it is written and whether more of it is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit {
    Times,
    /// So many times less: more is better.
    TimesLess,
    /// A part of another number: more is better.
    AtLeast,
    Percent,
    Milliseconds,
    Seconds,
    MiB,
    Requests,
}

impl Unit {
    pub fn write(self, value: f64) -> String {
        match self {
            Self::Times if value < 1.95 => format!("{value:.2}x"),
            Self::Times => format!("{value:.1}x"),
            Self::TimesLess if value < 1.0 => format!("{:.1}x more", 1.0 / value),
            Self::TimesLess => format!("{value:.1}x less"),
            Self::AtLeast => format!("{value:.3}"),
            Self::Percent => format!("{value:.1} %"),
            Self::Milliseconds if value < 10.0 => format!("{value:.2} ms"),
            Self::Milliseconds => format!("{value:.0} ms"),
            Self::Seconds => format!("{value:.2} s"),
            Self::MiB => format!("{value:.0} MiB"),
            Self::Requests => format!("{value:.0}"),
        }
    }

    /// A bar is written as short as it was set.
    pub fn write_bar(self, value: f64) -> String {
        let text = match self {
            Self::Times => format!("{value}x"),
            Self::TimesLess if value == 1.0 => return "no more".to_owned(),
            Self::TimesLess => return format!(">= {value}x less"),
            Self::AtLeast => return format!(">= {value}"),
            Self::Percent => format!("{value} %"),
            Self::Milliseconds => format!("{value} ms"),
            Self::Seconds => format!("{value} s"),
            Self::MiB => format!("{value} MiB"),
            Self::Requests if value == 0.0 => return "none".to_owned(),
            Self::Requests => format!("{value}"),
        };
        format!("<= {text}")
    }

    pub fn is_met(self, value: f64, bar: f64) -> bool {
        match self {
            Self::TimesLess | Self::AtLeast => value >= bar,
            _ => value <= bar,
        }
    }

    pub fn judge(self, value: f64, bar: f64) -> String {
        match self {
            _ if self.is_met(value, bar) => "met".to_owned(),
            Self::Requests => format!("**not met**: {value:.0} too many"),
            Self::TimesLess | Self::AtLeast => format!("**not met**: {:.0} % of it", value * 100.0 / bar),
            _ => format!("**not met**: {:.0} % over", (value / bar - 1.0) * 100.0),
        }
    }
}

/// One promise and what became of it.
pub struct Bar {
    pub what: String,
    /// None: not measured in this run.
    pub value: Option<f64>,
    pub unit: Unit,
    pub bar: f64,
    pub aim: Option<f64>,
    /// What a reader must know about the number.
    pub remark: String,
}

impl Bar {
    pub fn new(what: &str, value: Option<f64>, unit: Unit, bar: f64, aim: Option<f64>) -> Self {
        Self {
            what: what.to_owned(),
            value,
            unit,
            bar,
            aim,
            remark: String::new(),
        }
    }

    pub fn remark(mut self, text: impl Into<String>) -> Self {
        self.remark = text.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_met_at_it_and_missed_beyond_it() {
        assert_eq!(Unit::Times.judge(4.0, 4.0), "met");
        assert_eq!(Unit::Times.judge(5.0, 4.0), "**not met**: 25 % over");
        assert_eq!(Unit::TimesLess.judge(8.0, 8.0), "met");
        assert_eq!(Unit::TimesLess.judge(2.0, 8.0), "**not met**: 25 % of it");
        assert_eq!(Unit::AtLeast.judge(0.99, 0.99), "met");
        assert_eq!(Unit::AtLeast.judge(0.495, 0.99), "**not met**: 50 % of it");
        assert_eq!(Unit::Percent.judge(20.1, 20.0), "**not met**: 1 % over");
        assert_eq!(Unit::Requests.judge(3.0, 0.0), "**not met**: 3 too many");
    }
}
