//! The table as plain text: once, or again and again.
//!
//! Takes what is watched, gives lines, or writes them to standard output. Never a control character: it is for pipes, files and logs.

use std::fmt::Write as _;
use std::io::Write as _;

use tokio::time::sleep;

use super::alarms::of_reading;
use super::news::News;
use super::operator::Inquirer;
use super::reading::Reading;
use super::rows::{Looks, Row, Rows};
use super::table::{Cell, Column, Heading, Sorting, Table, short};
use super::watched::Watched;

/// Two looks at the gateway, and what flowed between them; and whether something is wrong.
///
/// # Errors
/// A sentence for the operator.
pub async fn once(watched: &Watched) -> Result<(String, bool), String> {
    let inquirer = Inquirer::new(&watched.gateway.url, &watched.gateway.operator)?;
    let mut flow = Looks::default();
    flow.add(Reading::take(&inquirer).await?);
    sleep(watched.interval).await;
    flow.add(Reading::take(&inquirer).await?);
    let mut text = text(&flow.rows(), watched.sorting, &watched.search);
    let alarms = flow.last().map(of_reading).unwrap_or_default();
    for line in &alarms {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "! {line}");
    }
    Ok((text, !alarms.is_empty()))
}

/// The table every interval, and what changed above it, until it is told to stop.
///
/// # Errors
/// A sentence for the operator.
pub async fn follow(watched: &Watched) -> Result<(), String> {
    let inquirer = Inquirer::new(&watched.gateway.url, &watched.gateway.operator)?;
    let (mut flow, mut news) = (Looks::default(), News::default());
    loop {
        let reading = Reading::take(&inquirer).await?;
        let mut shown: String = news.of(&reading).iter().map(|line| format!("{line}\n")).collect();
        flow.add(reading);
        if flow.has_rates() {
            shown.push_str(&text(&flow.rows(), watched.sorting, &watched.search));
            shown.push('\n');
        }
        if std::io::stdout().lock().write_all(shown.as_bytes()).is_err() {
            // Nobody reads any more.
            return Ok(());
        }
        tokio::select! {
            () = watched.stop.cancelled() => return Ok(()),
            () = sleep(watched.interval) => {}
        }
    }
}

/// One line of what flows in all.
pub(super) fn summary(rows: &Rows) -> String {
    let Row {
        received,
        kept,
        edited,
        dropped,
        rejected,
        waiting,
        upstreams,
        ..
    } = &rows.total;
    let [received, kept, edited] = [received, kept, edited].map(|samples| short(*samples));
    let [dropped, rejected, waiting] = [dropped, rejected, waiting].map(|samples| short(*samples));
    let mut line = format!(
        "samples/s: received {received} = kept {kept} + edited {edited} + dropped {dropped} + rejected {rejected} + waiting {waiting}"
    );
    for (name, samples) in rows.upstreams.iter().zip(upstreams) {
        // Writing to a String cannot fail.
        let _ = write!(line, "  → {name} {}", short(samples.unwrap_or(0.0)));
    }
    line
}

fn text(rows: &Rows, sorting: Sorting, search: &str) -> String {
    let table = Table::of(rows, sorting, search, usize::MAX / 2);
    let mut text = format!("{}\n", summary(rows));
    let heads = table.columns.iter().map(|shown| Cell {
        text: shown.title.clone(),
        ..Cell::default()
    });
    let heads: Vec<Cell> = heads.collect();
    for cells in std::iter::once(&heads).chain(&table.lines) {
        let padded: Vec<String> = table
            .columns
            .iter()
            .zip(cells)
            .map(|(shown, cell)| padded(shown, cell))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn padded(shown: &Heading, cell: &Cell) -> String {
    let Heading { column, width, .. } = shown;
    match Column::is_text(*column) {
        true => format!("{:<width$}", cell.text),
        false => format!("{:>width$}", cell.text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::flow;
    use super::*;

    #[test]
    fn a_pipe_gets_every_column_and_no_control_character() {
        let text = text(&flow().rows(), Sorting::default(), "");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "samples/s: received 201 = kept 110 + edited 40 + dropped 30 + rejected 1.0 + waiting 20  → hard 50  → soft 100"
        );
        assert!(
            lines[1].starts_with("tenant ") && lines[1].ends_with("last refusal"),
            "{text}"
        );
        let a: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(
            a,
            [
                "a", "200", "110", "40", "30", "0", "20", "50", "100", "120", "12%", "4.0", "ms"
            ]
        );
        assert_eq!(lines.len(), 6);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'));
    }
}
