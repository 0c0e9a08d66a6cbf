//! The picture of the README: CPU per sample by subject, as bars.
//!
//! Takes the rows of the first table, gives SVG without scripts or fonts of its own. Its colours are in the middle,
//! so that it can be read on light and on dark.

use std::fmt::Write;

use crate::cpu::{EDITED, ENVOY, KEPT, NGINX, THANOS, VMAGENT_RULES};
use crate::table::Row;

/// From the cheapest to the dearest, as it was when this was drawn first.
const SHOWN: [&str; 6] = [NGINX, ENVOY, KEPT, EDITED, VMAGENT_RULES, THANOS];
const WIDTH: f64 = 720.0;
const LINE: f64 = 26.0;
/// Where bars begin, and how long the longest is: names stand to the left, numbers to the right.
const LEFT: f64 = 190.0;
const LONGEST: f64 = 450.0;
const TEXT: &str = "#7d8590";
const PEER: &str = "#6e84a3";
const OWN: &str = "#d9822b";

/// None where a subject was not measured.
pub fn draw(rows: &[Row]) -> Option<String> {
    let shown: Vec<&Row> = SHOWN
        .iter()
        .map(|name| rows.iter().find(|row| row.name == *name))
        .collect::<Option<_>>()?;
    let most = shown.iter().fold(0.0_f64, |most, row| most.max(row.figure.median));
    let height = LINE * (shown.len() as f64 + 1.0) + 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"{TEXT}\">\n\
         <title>CPU per sample, nanoseconds: less is better</title>\n\
         <text x=\"{LEFT}\" y=\"17\">CPU per sample, nanoseconds: less is better</text>\n"
    );
    for (number, row) in shown.iter().enumerate() {
        let top = LINE * (number as f64 + 1.0);
        let long = (row.figure.median / most * LONGEST).max(1.0);
        let colour = if row.name.starts_with("gauntlet") { OWN } else { PEER };
        let (base, start, end) = (top + 17.0, LEFT - 8.0, LEFT + long + 6.0);
        writeln!(
            svg,
            "<text x=\"{start}\" y=\"{base}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{}\" width=\"{long:.1}\" height=\"{}\" rx=\"2\" fill=\"{colour}\"/>\
             <text x=\"{end:.1}\" y=\"{base}\">{:.0}</text>",
            row.name,
            top + 4.0,
            LINE - 8.0,
            row.figure.median
        )
        .expect("a string");
    }
    svg += "</svg>\n";
    Some(svg)
}
