//! What is drawn on terminals of several sizes, and what keys do.

use std::time::Instant;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use tokio_util::sync::CancellationToken;

use super::super::operator::{Operator, RunningGateway};
use super::super::rows::tests::reading;
use super::*;

fn screen() -> Screen {
    let mut screen = Screen::new(&Watched {
        gateway: RunningGateway {
            url: "http://127.0.0.1:10902".to_owned(),
            operator: Operator::default(),
        },
        interval: Duration::from_secs(1),
        sorting: Sorting::default(),
        search: String::new(),
        notes: vec!["console  http://127.0.0.1:10902/".to_owned()],
        stop: CancellationToken::new(),
    });
    let begin = Instant::now();
    screen.take(Ok(reading(begin, 0, 1.0)));
    screen.take(Ok(reading(begin, 1, 1.0)));
    screen
}

fn drawn(screen: &mut Screen, width: u16, height: u16) -> (Vec<String>, Terminal<TestBackend>) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let lines = (0..height).map(|y| line(y).trim_end().to_owned()).collect();
    (lines, terminal)
}

fn press(screen: &mut Screen, keys: &str) -> bool {
    let mut ended = false;
    for key in keys.chars() {
        let code = match key {
            '→' => KeyCode::Right,
            '←' => KeyCode::Left,
            '↓' => KeyCode::Down,
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            key => KeyCode::Char(key),
        };
        ended = screen.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    ended
}

#[test]
fn a_usual_terminal_shows_title_sums_alarms_rows_news_and_keys() {
    let (lines, _) = drawn(&mut screen(), 80, 24);
    assert_eq!(lines[0], "gauntlet 0.1.0 at http://127.0.0.1:10902  tenants 3");
    assert_eq!(lines[1], "console  http://127.0.0.1:10902/");
    assert!(lines[2].starts_with("samples/s: received 201 = kept 110"), "{lines:#?}");
    assert!(
        lines[4].starts_with("! tenant c is broken, nothing serves it"),
        "{lines:#?}"
    );
    assert!(
        lines[5].starts_with("! upstream hard: http://10.0.0.8:19291 is down"),
        "{lines:#?}"
    );
    let head: Vec<&str> = lines[6].split_whitespace().collect();
    assert_eq!(
        head,
        [
            "tenant",
            "received▼",
            "dropped",
            "rejected",
            "waiting",
            "series",
            "last",
            "refusal"
        ]
    );
    let a: Vec<&str> = lines[7].split_whitespace().collect();
    assert_eq!(a, ["a", "200", "30", "0", "20", "120", "12%"]);
    assert_eq!(lines[22], "* a: new policies in use (generation 2)");
    assert!(
        lines[23].starts_with("1-4 of 4, 5 columns hidden  q quit"),
        "{lines:#?}"
    );
}

#[test]
fn a_large_terminal_has_a_column_for_each_upstream_and_why_a_tenant_was_refused() {
    let (lines, _) = drawn(&mut screen(), 200, 50);
    let head = lines.iter().find(|line| line.starts_with("tenant")).unwrap();
    for title in ["→ hard", "→ soft", "p99", "last refusal", "edited"] {
        assert!(head.contains(title), "{head}");
    }
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("b ") && line.contains("too_many_labels 2m")),
        "{lines:#?}"
    );
    assert!(lines[49].starts_with("1-4 of 4  q quit"), "{}", lines[49]);
}

#[test]
fn a_tiny_terminal_shows_the_most_needed_and_scrolls() {
    let mut screen = screen();
    let (lines, _) = drawn(&mut screen, 40, 10);
    assert!(
        lines[4].starts_with("tenant   received▼   rejected   waiting"),
        "{lines:#?}"
    );
    assert!(lines[5].starts_with("a ") && lines[8].starts_with("d "), "{lines:#?}");
    screen.alarms = (0..9).map(|n| format!("alarm {n}")).collect();
    let (lines, _) = drawn(&mut screen, 40, 7);
    assert_eq!(lines[2], "! alarm 0 (and 8 more)");
    assert!(lines[4].starts_with("a ") && lines[5].starts_with("b "), "{lines:#?}");
    press(&mut screen, "↓↓↓↓↓");
    let (lines, _) = drawn(&mut screen, 40, 7);
    assert!(lines[4].starts_with("c ") && lines[5].starts_with("d "), "{lines:#?}");
    assert!(lines[6].starts_with("3-4 of 4"), "{lines:#?}");
    for (width, height) in [(1, 1), (3, 2), (5, 40), (400, 3)] {
        drawn(&mut screen, width, height);
    }
}

#[test]
fn keys_sort_search_pause_and_end() {
    let mut screen = screen();
    assert!(!press(&mut screen, "→r"));
    assert_eq!((screen.sorting.by, screen.sorting.reverse), (Column::Kept, true));
    press(&mut screen, "←←←←");
    assert_eq!(
        screen.sorting,
        Sorting {
            by: Column::Tenant,
            reverse: false
        }
    );
    assert!(!press(&mut screen, "/qx\x08"), "a letter of a search is no command");
    let (lines, _) = drawn(&mut screen, 80, 24);
    assert_eq!(lines[23], "/q▏ (Enter ends, Esc clears)");
    press(&mut screen, "\x08b\n");
    let (lines, _) = drawn(&mut screen, 80, 24);
    assert!(lines[7].starts_with("b ") && lines[8].is_empty(), "{lines:#?}");
    press(&mut screen, "\x1b ");
    assert!(screen.search.is_empty() && screen.is_paused);
    assert!(drawn(&mut screen, 80, 24).0[0].ends_with("paused"));
    assert!(press(&mut screen, "q"));
    assert!(screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
}

#[test]
fn what_is_lost_is_red_and_a_gateway_that_does_not_answer_is_told() {
    let mut screen = screen();
    press(&mut screen, "/b\n");
    let (lines, terminal) = drawn(&mut screen, 80, 24);
    let at = lines[6].find("rejected").unwrap();
    let buffer = terminal.backend().buffer();
    let lost = (at..at + 12)
        .map(|x| &buffer[(u16::try_from(x).unwrap(), 7)])
        .find(|cell| cell.symbol() == "1");
    assert_eq!(lost.unwrap().fg, Color::Red);
    screen.take(Err("http://127.0.0.1:10902 did not answer: \x1b[2J".to_owned()));
    let (lines, _) = drawn(&mut screen, 80, 24);
    assert_eq!(
        lines[23],
        "http://127.0.0.1:10902 did not answer: \\u{1b}[2J; trying again"
    );
    assert!(lines[7].starts_with("b "), "what was seen last stays");
}
