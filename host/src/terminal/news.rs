//! What changed between two readings.
//!
//! Takes a reading, gives lines about what is other than before: tenants that went, came or have new policies, and what is wrong
//! or is well again. Remembers the last one only.

use std::collections::BTreeMap;

use super::alarms::of_reading;
use super::reading::Reading;

#[derive(Default)]
pub(super) struct News {
    /// `None` before the first reading.
    generations: Option<BTreeMap<String, u64>>,
    alarms: Vec<String>,
}

impl News {
    /// What `reading` has that the one before had not. What is wrong is told the first time as well.
    pub(super) fn of(&mut self, reading: &Reading) -> Vec<String> {
        let now = reading
            .tenants
            .iter()
            .map(|seen| (seen.tenant.clone(), seen.generation));
        let now: BTreeMap<String, u64> = now.collect();
        let went_back = |tenant: &str, generation| {
            let mut back = reading.status.went_back.iter();
            back.any(|back| back.tenant == tenant && back.generation == generation)
        };
        let mut lines = Vec::new();
        if let Some(before) = &self.generations {
            let gone = before.keys().filter(|tenant| !now.contains_key(*tenant));
            lines.extend(gone.map(|tenant| format!("* {tenant}: the tenant is gone and its writes are refused")));
            lines.extend(now.iter().filter_map(|(tenant, generation)| match before.get(tenant) {
                None => Some(format!("* {tenant}: a new tenant is served")),
                // What it went back to is no news of its own: why it did is told below.
                Some(old) if old != generation && !went_back(tenant, *generation) => {
                    Some(format!("* {tenant}: new policies in use (generation {generation})"))
                }
                Some(_) => None,
            }));
        }
        self.generations = Some(now);
        let alarms = of_reading(reading);
        // Times that run are no news.
        let told = |line: &&String| !self.alarms.iter().any(|before| head(before) == head(line));
        lines.extend(alarms.iter().filter(told).map(|line| format!("! {line}")));
        if alarms.is_empty() && !self.alarms.is_empty() {
            lines.push("* all is well again".to_owned());
        }
        self.alarms = alarms;
        lines
    }
}

fn head(line: &str) -> &str {
    line.split_once("; it is tried again").map_or(line, |(head, _)| head)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::rows::tests::reading;
    use super::super::seen::WentBackSeen;
    use super::*;

    #[test]
    fn tenants_that_come_go_and_change_are_news_once() {
        let mut news = News::default();
        let mut now = reading(Instant::now(), 0, 1.0);
        now.status.broken_tenants.clear();
        now.upstreams.clear();
        assert!(news.of(&now).is_empty(), "what is there at first is no news");
        now.tenants[0].generation = 4;
        now.tenants.remove(1);
        let changed = [
            "* b: the tenant is gone and its writes are refused",
            "* a: new policies in use (generation 4)",
        ];
        assert_eq!(news.of(&now), changed);
        assert!(news.of(&now).is_empty());
        now.tenants[1].tenant = "e".to_owned();
        assert_eq!(news.of(&now)[1], "* e: a new tenant is served");
    }

    #[test]
    fn a_tenant_that_went_back_has_no_new_policies() {
        let mut news = News::default();
        let mut now = reading(Instant::now(), 0, 1.0);
        news.of(&now);
        now.tenants[0].generation = 4;
        now.status.went_back = vec![WentBackSeen {
            tenant: "a".to_owned(),
            generation: 4,
            why: "policy p gave two answers about one series".to_owned(),
            to_generation: Some(2),
        }];
        let told = ["! tenant a went back to its policies before: policy p gave two answers about one series"];
        assert_eq!(news.of(&now), told);
    }

    #[test]
    fn what_is_wrong_is_told_once_and_so_is_its_end() {
        let mut news = News::default();
        let mut now = reading(Instant::now(), 0, 1.0);
        assert_eq!(news.of(&now).len(), 2);
        now.upstreams[1].endpoints[0].retry_in_seconds = Some(3.0);
        assert!(news.of(&now).is_empty());
        now.status.broken_tenants.clear();
        assert!(news.of(&now).is_empty());
        now.upstreams.clear();
        assert_eq!(news.of(&now), ["* all is well again"]);
    }
}
