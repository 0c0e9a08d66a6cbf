//! The table on a terminal: drawn again with every look, sorted, searched and scrolled by keys.
//!
//! Takes what is watched, holds the terminal until `q` or until it is told to stop, and gives it back as it was. Never asks
//! the gateway more often than its answers take time: half of the time at most.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::alarms::of_reading;
use super::news::News;
use super::operator::Inquirer;
use super::printed::summary;
use super::reading::Reading;
use super::rows::{Looks, Rows};
use super::table::{Cell, Column, Heading, Sorting, Table, Tone};
use super::watched::Watched;
use crate::model::plain;

/// Between two looks at the keyboard.
const KEYS: Duration = Duration::from_millis(100);
/// A screen that is lower than this has no notes and no news.
const ROOMY: u16 = 18;
const NEWS: usize = 3;
const MAX_SEARCH: usize = 64;
const HELP: &str = "q quit  / search  ←→ sort by  r reverse  ↑↓ scroll  space pause";

type Look = Result<Reading, String>;

/// Shows the table until `q`, ^C or `stop`.
///
/// # Errors
/// A sentence for the operator: the gateway did not answer the first time, or there is no terminal.
pub async fn watch(watched: &Watched) -> Result<(), String> {
    let inquirer = Inquirer::new(&watched.gateway.url, &watched.gateway.operator)?;
    let first = Reading::take(&inquirer).await?;
    let (send, looks) = mpsc::channel(1);
    let looking = look_on(&inquirer, watched.interval, send);
    let watched = watched.clone();
    let shown = tokio::task::spawn_blocking(move || show(&watched, first, looks));
    tokio::pin!(shown);
    let ended = tokio::select! {
        ended = &mut shown => ended,
        // Nobody takes what is seen any more.
        () = looking => shown.await,
    };
    let ended = ended.map_err(|error| format!("the screen broke: {error}"))?;
    ended.map_err(|error| format!("the terminal cannot be used: {error}"))
}

async fn look_on(inquirer: &Inquirer, interval: Duration, looks: mpsc::Sender<Look>) {
    let mut pause = interval;
    loop {
        sleep(pause).await;
        let begin = Instant::now();
        let look = Reading::take(inquirer).await;
        pause = interval.max(begin.elapsed());
        if looks.send(look).await.is_err() {
            return;
        }
    }
}

fn show(watched: &Watched, first: Reading, mut looks: mpsc::Receiver<Look>) -> io::Result<()> {
    let mut screen = Screen::new(watched);
    screen.take(Ok(first));
    let mut terminal = ratatui::try_init()?;
    let mut is_stale = true;
    let ended = loop {
        if is_stale && let Err(error) = terminal.draw(|frame| screen.draw(frame)) {
            break Err(error);
        }
        is_stale = match next_event() {
            Ok(None) => false,
            Ok(Some(Event::Key(key))) if key.kind == KeyEventKind::Press => {
                if screen.key(key) {
                    break Ok(());
                }
                true
            }
            Ok(Some(_)) => true,
            Err(error) => break Err(error),
        };
        while let Ok(look) = looks.try_recv() {
            screen.take(look);
            is_stale = true;
        }
        if watched.stop.is_cancelled() {
            break Ok(());
        }
    };
    ratatui::try_restore()?;
    ended
}

fn next_event() -> io::Result<Option<Event>> {
    match event::poll(KEYS)? {
        true => event::read().map(Some),
        false => Ok(None),
    }
}

/// What is shown, and how.
struct Screen {
    url: String,
    notes: Vec<String>,
    sorting: Sorting,
    search: String,
    is_typing: bool,
    is_paused: bool,
    /// The first row that is shown.
    top: usize,
    flow: Looks,
    rows: Rows,
    alarms: Vec<String>,
    news: News,
    told: VecDeque<String>,
    /// Why the last look gave nothing.
    error: Option<String>,
}

impl Screen {
    fn new(watched: &Watched) -> Self {
        Self {
            url: watched.gateway.url.clone(),
            notes: watched.notes.clone(),
            sorting: watched.sorting,
            search: watched.search.clone(),
            is_typing: false,
            is_paused: false,
            top: 0,
            flow: Looks::default(),
            rows: Rows::default(),
            alarms: Vec::new(),
            news: News::default(),
            told: VecDeque::new(),
            error: None,
        }
    }

    fn take(&mut self, look: Look) {
        let reading = match look {
            Ok(reading) => reading,
            Err(error) => {
                self.error = Some(error);
                return;
            }
        };
        self.error = None;
        // What is wrong has its own place.
        let told = self.news.of(&reading).into_iter().filter(|line| !line.starts_with('!'));
        self.told.extend(told);
        self.told.drain(..self.told.len().saturating_sub(NEWS));
        self.alarms = of_reading(&reading);
        self.flow.add(reading);
        if !self.is_paused {
            self.rows = self.flow.rows();
        }
    }

    /// Whether it is time to go.
    fn key(&mut self, key: KeyEvent) -> bool {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c' | 'd'));
        }
        match key.code {
            code if self.is_typing => self.typed(code),
            KeyCode::Char('q') => return true,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('r') => self.sorting.reverse = !self.sorting.reverse,
            KeyCode::Char(' ' | 'p') => {
                self.is_paused = !self.is_paused;
                self.rows = self.flow.rows();
            }
            KeyCode::Left | KeyCode::Char('h') => self.sort_by(-1),
            KeyCode::Right | KeyCode::Char('l') => self.sort_by(1),
            KeyCode::Up | KeyCode::Char('k') => self.top = self.top.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.top = self.top.saturating_add(1),
            KeyCode::PageUp => self.top = self.top.saturating_sub(10),
            KeyCode::PageDown => self.top = self.top.saturating_add(10),
            KeyCode::Home => self.top = 0,
            KeyCode::End => self.top = usize::MAX,
            KeyCode::Esc => self.search.clear(),
            _ => {}
        }
        false
    }

    fn typed(&mut self, code: KeyCode) {
        self.top = 0;
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.search.clear();
            }
            KeyCode::Backspace => {
                self.search.pop();
            }
            KeyCode::Char(c) if self.search.len() < MAX_SEARCH && !c.is_control() => self.search.push(c),
            _ => {}
        }
    }

    fn sort_by(&mut self, step: isize) {
        let all = Column::all(self.rows.upstreams.len());
        let at = all.iter().position(|column| *column == self.sorting.by).unwrap_or(0);
        let next = at.saturating_add_signed(step).min(all.len() - 1);
        self.sorting = Sorting {
            by: all[next],
            reverse: false,
        };
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let is_roomy = area.height >= ROOMY;
        let notes = if is_roomy { self.notes.len() } else { 0 };
        let told = if is_roomy { self.told.len() } else { 0 };
        let alarms = self.alarms.len().min(usize::from(area.height) / 4);
        let summary = if is_roomy { 2 } else { 1 };
        let lines = |count: usize| Constraint::Length(u16::try_from(count).unwrap_or(u16::MAX));
        let parts = [
            lines(1),
            lines(notes),
            lines(summary),
            lines(alarms),
            Constraint::Fill(1),
            lines(told),
            lines(1),
        ];
        let [title, notes, summary, alarms, table, told, foot] = Layout::vertical(parts).areas(area);
        frame.render_widget(self.title(), title);
        frame.render_widget(
            Paragraph::new(
                self.notes
                    .iter()
                    .map(|note| Line::raw(note.as_str()))
                    .collect::<Vec<_>>(),
            ),
            notes,
        );
        frame.render_widget(Paragraph::new(self.summary()).wrap(Wrap { trim: true }), summary);
        frame.render_widget(self.alarms_shown(usize::from(alarms.height)), alarms);
        let shown = self.table(frame, table);
        let news: Vec<Line<'_>> = self
            .told
            .iter()
            .map(|line| Line::styled(line.as_str(), faint()))
            .collect();
        frame.render_widget(Paragraph::new(news), told);
        frame.render_widget(self.foot(&shown), foot);
    }

    fn title(&self) -> Line<'_> {
        let status = self.flow.last().map(|reading| &reading.status);
        let version = status.map_or("", |status| status.version.as_str());
        let tenants = status.map_or(0, |status| status.tenants);
        let text = format!("gauntlet {version} at {}  tenants {tenants}", self.url);
        let mut spans = vec![Span::styled(plain(&text, 200), Modifier::BOLD)];
        if self.is_paused {
            spans.push(Span::styled("  paused", style(Tone::Warning)));
        }
        Line::from(spans)
    }

    fn summary(&self) -> String {
        match self.flow.has_rates() {
            true => summary(&self.rows),
            false => "samples/s: there are rates after the next look".to_owned(),
        }
    }

    fn alarms_shown(&self, height: usize) -> Paragraph<'_> {
        let more = self.alarms.len().saturating_sub(height);
        let lines = self.alarms.iter().take(height).enumerate().map(|(at, line)| {
            let more = match at + 1 == height && more > 0 {
                true => format!(" (and {more} more)"),
                false => String::new(),
            };
            Line::styled(format!("! {line}{more}"), style(Tone::Bad))
        });
        Paragraph::new(lines.collect::<Vec<_>>())
    }

    /// Which rows are shown of how many, in words.
    fn table(&mut self, frame: &mut Frame<'_>, area: Rect) -> String {
        let table = Table::of(&self.rows, self.sorting, &self.search, usize::from(area.width));
        let height = usize::from(area.height).saturating_sub(1);
        self.top = self.top.min(table.lines.len().saturating_sub(height));
        let end = table.lines.len().min(self.top + height);
        let head = table.columns.iter().map(|shown| self.head(shown));
        let head = Line::from(head.collect::<Vec<_>>()).style(Modifier::BOLD | Modifier::UNDERLINED);
        let body = table.lines[self.top..end].iter().map(|cells| {
            let spans = table.columns.iter().zip(cells).map(|(shown, cell)| span(shown, cell));
            Line::from(spans.collect::<Vec<_>>())
        });
        let lines: Vec<Line<'_>> = std::iter::once(head).chain(body).collect();
        frame.render_widget(Paragraph::new(lines), area);
        let hidden = match table.hidden {
            0 => String::new(),
            hidden => format!(", {hidden} columns hidden"),
        };
        let first = (self.top + 1).min(end);
        format!("{first}-{end} of {}{hidden}", table.lines.len())
    }

    fn head(&self, shown: &Heading) -> Span<'static> {
        let is_sorted = shown.column == self.sorting.by;
        let mark = match (is_sorted, self.sorting.reverse) {
            (false, _) => "",
            (true, false) => "▼",
            (true, true) => "▲",
        };
        let cell = Cell {
            text: format!("{}{mark}", shown.title),
            tone: Tone::Plain,
        };
        let span = span(shown, &cell);
        match is_sorted {
            true => span.style(Modifier::REVERSED),
            false => span,
        }
    }

    fn foot(&self, shown: &str) -> Line<'_> {
        if let Some(error) = &self.error {
            return Line::styled(format!("{}; trying again", plain(error, 300)), style(Tone::Bad));
        }
        if self.is_typing {
            return Line::styled(format!("/{}▏ (Enter ends, Esc clears)", self.search), Modifier::BOLD);
        }
        let search = match self.search.as_str() {
            "" => String::new(),
            search => format!("  /{search}"),
        };
        Line::styled(format!("{shown}{search}  {HELP}"), faint())
    }
}

/// As wide as its column, and a gap.
fn span(shown: &Heading, cell: &Cell) -> Span<'static> {
    let width = shown.width;
    let text: String = cell.text.chars().take(width).collect();
    let text = match shown.column.is_text() {
        true => format!("{text:<width$}  "),
        false => format!("{text:>width$}  "),
    };
    Span::styled(text, style(cell.tone))
}

fn style(tone: Tone) -> Style {
    use ratatui::style::Color;
    match tone {
        Tone::Plain => Style::new(),
        Tone::Faint => faint(),
        Tone::Warning => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

/// By no colour, which a terminal may show as its own background.
fn faint() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

#[cfg(test)]
mod tests;
