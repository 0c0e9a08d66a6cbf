//! The bars that CPU rows are held to.
//!
//! Takes the rows of the first table, gives one bar for each comparison. A comparison whose rows were not measured in
//! this run is left out.

use crate::cpu::{
    COLD, DROPPED, EDITED, FROM_V2, KEPT, KEPT_500, KEPT_V2, NGINX, NGINX_500, PROMETHEUS, SPLIT, THANOS, VMAGENT,
    VMAGENT_COLD, VMAGENT_RULES,
};
use crate::table::{Bar, Row, Unit};

pub fn of_cpu(rows: &[Row]) -> Vec<Bar> {
    let median = |name: &str| Some(rows.iter().find(|row| row.name == name)?.figure.median);
    let times = |what: &str, own: &str, other: &str, bar: f64, aim: Option<f64>| {
        let ratio = median(own).zip(median(other)).map(|(own, other)| own / other);
        Bar::new(what, ratio, Unit::Times, bar, aim)
    };
    let less = |what: &str, own: &str, other: &str, bar: f64, aim: Option<f64>| {
        let ratio = median(own).zip(median(other)).map(|(own, other)| other / own);
        Bar::new(what, ratio, Unit::TimesLess, bar, aim)
    };
    vec![
        times("all kept, of nginx", KEPT, NGINX, 4.0, Some(3.0)),
        less(
            "all kept, than vmagent with the same rules",
            KEPT,
            VMAGENT_RULES,
            8.0,
            Some(10.0),
        ),
        times("2.0 to 2.0 all kept, of 1.0 all kept", KEPT_V2, KEPT, 1.2, None),
        times("2.0 to 1.0 all kept, of 1.0 all kept", FROM_V2, KEPT, 1.6, None),
        less("2.0 to 1.0 all kept, than vmagent", FROM_V2, VMAGENT, 4.0, None),
        less(
            "2.0 to 1.0 all kept, than a Prometheus agent",
            FROM_V2,
            PROMETHEUS,
            4.0,
            None,
        ),
        times("one in ten dropped, of nginx", DROPPED, NGINX, 6.0, Some(4.0)),
        less(
            "all edited, than vmagent with three rules",
            EDITED,
            VMAGENT_RULES,
            4.0,
            Some(8.0),
        ),
        times("all edited, of nginx", EDITED, NGINX, 6.0, Some(3.7)),
        less("split in two, than vmagent", SPLIT, VMAGENT, 4.0, None),
        less(
            "every series new, than vmagent with the same rules",
            COLD,
            VMAGENT_COLD,
            1.0,
            Some(2.0),
        ),
        less("all kept, than a Thanos router", KEPT, THANOS, 30.0, Some(60.0)),
        times(
            "500-sample bodies kept, of nginx on the same",
            KEPT_500,
            NGINX_500,
            4.0,
            None,
        ),
    ]
}
