//! `otpost top`: the status in a terminal, updated every two seconds.

use std::time::Duration;

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table, TableState, Wrap};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::{mpsc, watch};

use super::Failure;
use super::client::{Api, Server};
use super::status::{Filter, breaker, describe, fetch, fine, paused, share, summary};
use crate::http::status::{NamedNumbers, StatusAnswer};

/// Interval of the updates.
const UPDATE_INTERVAL: Duration = Duration::from_secs(2);
/// Time limit of one poll of the keyboard. After the screen has closed, the thread ends within this time.
const KEY_WAIT: Duration = Duration::from_millis(200);

/// Show the status in this terminal, updated every two seconds. The API key must be an operator's.
#[derive(Debug, Args)]
pub(super) struct Top {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    filter: Filter,
}

/// What the table lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    Carriers,
    Countries,
    Tenants,
}

struct Screen {
    view: View,
    filter: Filter,
    rows: TableState,
    /// The newest status, or why there is none.
    status: Result<StatusAnswer, String>,
}

impl Top {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let api = self.server.connect_operator()?;
        let status = fetch(&api, &self.filter).await?;
        let (to_screen, keys) = mpsc::channel(16);
        // A thread, because reading keys blocks. It ends with the process, or when nobody takes the keys.
        std::thread::spawn(move || {
            while !to_screen.is_closed() {
                let read = event::poll(KEY_WAIT).and_then(|is_ready| is_ready.then(event::read).transpose());
                let Ok(read) = read else { return };
                if read.is_some_and(|event| to_screen.blocking_send(event).is_err()) {
                    return;
                }
            }
        });
        let screen = Screen {
            view: View::Carriers,
            filter: self.filter,
            rows: TableState::default(),
            status: Ok(status),
        };
        let terminal = ratatui::try_init()
            .map_err(|_| Failure::Failed("this is not a terminal; use: otpost status".to_owned()))?;
        let shown = screen.run(terminal, api, keys).await;
        ratatui::restore();
        shown.map_err(|e| Failure::Failed(format!("the terminal cannot be used: {}", e.kind())))
    }
}

impl Screen {
    /// Shows the status until the user quits. Keys are answered also while the server is slow.
    async fn run(
        mut self, mut terminal: DefaultTerminal, api: Api, mut keys: mpsc::Receiver<Event>,
    ) -> std::io::Result<()> {
        let (to_reader, mut filters) = watch::channel(self.filter.clone());
        let (to_screen, mut read) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let filter = filters.borrow_and_update().clone();
                if to_screen.send(fetch(&api, &filter).await).await.is_err() {
                    return;
                }
                let _ = tokio::time::timeout(UPDATE_INTERVAL, filters.changed()).await;
            }
        });
        loop {
            terminal.draw(|frame| self.draw(frame))?;
            tokio::select! {
                Some(status) = read.recv() => self.status = status.map_err(text),
                event = keys.recv() => match event {
                    Some(Event::Key(key)) if key.kind == KeyEventKind::Press => {
                        if self.press(key) {
                            return Ok(());
                        }
                        to_reader.send_if_modified(|filter| {
                            let is_new = *filter != self.filter;
                            filter.clone_from(&self.filter);
                            is_new
                        });
                    }
                    Some(_) => {}
                    None => return Ok(()),
                },
            }
        }
    }

    /// Applies a key. Returns whether the user quits.
    fn press(&mut self, key: KeyEvent) -> bool {
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Tab | KeyCode::Right => self.turn_to(self.view.next()),
            KeyCode::BackTab | KeyCode::Left => self.turn_to(self.view.next().next()),
            KeyCode::Down | KeyCode::Char('j') => self.rows.select_next(),
            KeyCode::Up | KeyCode::Char('k') => self.rows.select_previous(),
            KeyCode::Enter => self.narrow(),
            KeyCode::Backspace => self.filter = Filter { channel: self.filter.channel, ..Filter::default() },
            _ => {}
        }
        false
    }

    fn turn_to(&mut self, view: View) {
        (self.view, self.rows) = (view, TableState::default());
    }

    /// Filters by the selected row.
    fn narrow(&mut self) {
        let Ok(status) = &self.status else { return };
        let selected = self.rows.selected().and_then(|n| self.view.values(status).get(n));
        let Some(name) = selected.map(|value| value.name.clone()) else { return };
        match self.view {
            View::Carriers => self.filter.carrier = Some(name),
            View::Countries => self.filter.country = Some(name),
            View::Tenants => self.filter.tenant = Some(name),
        }
        self.turn_to(self.view.next());
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let status = match &self.status {
            Ok(status) => status,
            Err(why) => {
                frame.render_widget(
                    Paragraph::new(format!("{why}\n\nq quits")).wrap(Wrap { trim: true }),
                    frame.area(),
                );
                return;
            }
        };
        let findings = verdict(status);
        let machine = machine(status);
        let height = |text: &Text<'_>| {
            let width = usize::from(frame.area().width.saturating_sub(2)).max(1);
            text.lines.iter().map(|line| line.width().div_ceil(width).max(1)).sum::<usize>() as u16
        };
        let numbers = Text::from(format!("{}{}", describe_filter(&self.filter), summary(&status.all)));
        let [top, middle, chart, table, bottom, help] = Layout::vertical([
            Constraint::Length(height(&findings) + 2),
            Constraint::Length(height(&numbers) + 1),
            Constraint::Length(7),
            Constraint::Min(4),
            Constraint::Length((height(&machine) + 2).min(8)),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let time = status.at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        let frame_of = |title: String| Block::bordered().title(title);
        frame.render_widget(
            Paragraph::new(findings).wrap(Wrap { trim: true }).block(frame_of(format!(" otpost, {time} "))),
            top,
        );
        frame.render_widget(Paragraph::new(numbers).wrap(Wrap { trim: true }), middle);
        draw_chart(frame, chart, status);
        let view = self.view;
        frame.render_stateful_widget(value_table(view, view.values(status)), table, &mut self.rows);
        frame.render_widget(
            Paragraph::new(machine).wrap(Wrap { trim: true }).block(frame_of(" processes ".to_owned())),
            bottom,
        );
        let keys = "Tab: carriers, countries, tenants   Enter: only this one   Backspace: all   q: quit";
        frame.render_widget(Paragraph::new(keys).dim(), help);
    }
}

/// The failure as a text.
fn text(failure: Failure) -> String {
    match failure {
        Failure::Usage(why) | Failure::Failed(why) => why,
        Failure::AlreadyReported => String::new(),
    }
}

impl View {
    fn next(self) -> Self {
        match self {
            Self::Carriers => Self::Countries,
            Self::Countries => Self::Tenants,
            Self::Tenants => Self::Carriers,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Carriers => " carriers ",
            Self::Countries => " countries ",
            Self::Tenants => " tenants ",
        }
    }

    fn values(self, status: &StatusAnswer) -> &[NamedNumbers] {
        match self {
            Self::Carriers => &status.carriers,
            Self::Countries => &status.countries,
            Self::Tenants => &status.tenants,
        }
    }
}

fn verdict(status: &StatusAnswer) -> Text<'_> {
    if status.findings.is_empty() {
        return Text::from(fine(status).green());
    }
    status.findings.iter().map(|finding| Line::from(finding.text.as_str().red())).collect()
}

fn machine(status: &StatusAnswer) -> Text<'static> {
    let queues: Vec<String> =
        status.queues.iter().map(|(queue, length)| format!("{queue} {length}")).collect();
    let mut lines: Vec<Line<'_>> =
        status.breakers.iter().map(|open| Line::from(breaker(open).red())).collect();
    lines.extend(status.pauses.iter().map(|pause| Line::from(paused(pause).red())));
    if !queues.is_empty() {
        lines.push(Line::from(queues.join(", ")));
    }
    lines.extend(
        status.processes.iter().filter(|process| process.alive).map(|process| Line::from(describe(process))),
    );
    Text::from(lines)
}

fn describe_filter(filter: &Filter) -> String {
    let channel = filter.channel.map(|channel| channel.to_string());
    let values: Vec<String> =
        [&channel, &filter.carrier, &filter.country, &filter.tenant].into_iter().flatten().cloned().collect();
    if values.is_empty() { String::new() } else { format!("Only {}.\n", values.join(", ")) }
}

fn draw_chart(frame: &mut Frame<'_>, area: Rect, status: &StatusAnswer) {
    let block = Block::bordered().title(" attempts in ten minutes, the last 24 hours ");
    let width = usize::from(area.width.saturating_sub(2));
    let values: Vec<u64> = status.history.iter().map(|point| point.attempts.max(0) as u64).collect();
    let shown = &values[values.len().saturating_sub(width)..];
    frame.render_widget(Sparkline::default().block(block).data(shown).style(Style::new().green()), area);
}

fn value_table(view: View, values: &[NamedNumbers]) -> Table<'_> {
    let rows = values.iter().map(|value| {
        let (recent, day) = (&value.numbers.last_15_min, &value.numbers.last_24_h);
        Row::new([
            value.name.clone(),
            recent.attempts.to_string(),
            share(recent.accepted, recent.attempts),
            share(recent.delivered, recent.attempts),
            recent.handset_p50_s.map_or("-".to_owned(), |s| format!("{s:.1} s")),
            share(recent.verified, recent.attempts),
            day.attempts.to_string(),
            share(day.delivered, day.attempts),
        ])
    });
    let mut widths = vec![Constraint::Min(12)];
    widths.extend([Constraint::Length(9); 7]);
    Table::new(rows, widths)
        .header(
            Row::new(["", "15 min", "accepted", "delivered", "half in", "entered", "24 h", "delivered"])
                .dim(),
        )
        .row_highlight_style(Style::new().reversed())
        .block(Block::bordered().title(view.title()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use ratatui::widgets::TableState;

    use super::{Filter, Screen, View};
    use crate::domain::channel::Channel;
    use crate::domain::delivery_cell::Cell;
    use crate::domain::delivery_count::{CountRow, Counted, DeliveryCounts};
    use crate::ops::report::Report;
    use crate::ops::status::{Input, SeenReport, Snapshot, Status};
    use crate::ops::verdict::Group;

    /// A minute of attempts through two carriers.
    fn screen() -> Screen {
        let now: Timestamp = "2026-05-04T14:05:00Z".parse().unwrap();
        let row = |carrier: &str, country: &str, attempts| {
            let [carrier, country, tenant] = [carrier, country, "shop"].map(str::to_owned);
            let mut counts = DeliveryCounts::default();
            for counted in [Counted::Attempts, Counted::Accepted, Counted::Delivered5s] {
                counts.add(counted, attempts);
            }
            let started_at = Timestamp::from_second(now.as_second() - 60).unwrap();
            CountRow {
                started_at,
                width_s: 10,
                cell: Cell { channel: Channel::Sms, carrier, country, tenant },
                counts,
            }
        };
        let roles = vec!["worker".to_owned()];
        let report = Report { roles, started_at: now, host: "host-1".to_owned(), ..Report::default() };
        let reports = vec![SeenReport { name: "w1".to_owned(), seen_at: now, report }];
        let rows = vec![row("acme", "DE", 40), row("bolt", "ID", 10)];
        let input = Input { now, rows, reports, ..Input::default() };
        let status = Status::new(&Snapshot::new(input), &Group::default()).into();
        let (filter, rows) = (Filter::default(), TableState::default());
        Screen { view: View::Carriers, filter, rows, status: Ok(status) }
    }

    fn drawn(screen: &mut Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn press(screen: &mut Screen, keys: &[KeyCode]) -> bool {
        keys.iter().any(|code| screen.press(KeyEvent::new(*code, KeyModifiers::NONE)))
    }

    #[test]
    fn it_shows_the_verdict_the_numbers_and_the_processes() {
        let text = drawn(&mut screen(), 120, 32);
        for expected in [
            "Codes arrive as usual.",
            "Last 15 minutes: 50 attempts",
            "acme",
            "bolt",
            "w1",
            "14:05:00 UTC",
            "q: quit",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    fn enter_filters_by_the_selected_row_and_backspace_ends_it() {
        let mut screen = screen();
        assert!(!press(&mut screen, &[KeyCode::Enter]));
        assert_eq!((&screen.filter, screen.view), (&Filter::default(), View::Carriers), "no row is selected");
        press(&mut screen, &[KeyCode::Down, KeyCode::Down, KeyCode::Enter]);
        assert_eq!(screen.filter.carrier.as_deref(), Some("bolt"));
        assert_eq!(screen.view, View::Countries);
        assert!(drawn(&mut screen, 100, 30).contains("Only bolt."));
        press(&mut screen, &[KeyCode::Backspace]);
        assert_eq!(screen.filter, Filter::default());
        press(&mut screen, &[KeyCode::BackTab]);
        assert_eq!(screen.view, View::Carriers);
    }

    #[test]
    fn a_small_terminal_and_a_failed_request_can_be_shown() {
        drawn(&mut screen(), 20, 5);
        let mut away = Screen { status: Err("the server does not answer".to_owned()), ..screen() };
        assert!(drawn(&mut away, 60, 10).contains("the server does not answer"));
        assert!(!press(&mut away, &[KeyCode::Down, KeyCode::Enter, KeyCode::Tab]));
        assert!(press(&mut away, &[KeyCode::Char('q')]));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(away.press(interrupt) && !press(&mut away, &[KeyCode::Char('c')]));
    }
}
