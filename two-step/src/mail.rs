//! Sends mail by SMTP. No other module uses lettre's transport.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::ExposeSecret;
use serde_json::Value as Json;

use crate::config::{BadConfig, SmtpConfig};

/// Time-out of handing over one mail.
const SMTP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a mail was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The server is unreachable or answered with a temporary error.
    #[error("the mail server is unreachable or refuses mail for now")]
    Unavailable,
    /// The server rejected the mail, or the mail is malformed. A retry would not help.
    #[error("the mail server rejected the mail")]
    Refused,
}

/// The SMTP client.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: String,
}

impl Mailer {
    /// Creates the mailer, or returns `None` if no server is configured.
    pub fn open(config: &SmtpConfig) -> Result<Option<Self>, BadConfig> {
        let Some(url) = &config.url else { return Ok(None) };
        let bad =
            |_| BadConfig("smtp.url must be smtps://user:password@host, or smtp://host:port".to_owned());
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret()).map_err(bad)?;
        if config.from.parse::<lettre::message::Mailbox>().is_err() {
            return Err(BadConfig("smtp.from is not a mail address".to_owned()));
        }
        Ok(Some(Self { transport: transport.timeout(Some(SMTP_TIMEOUT)).build(), from: config.from.clone() }))
    }

    /// Sends one mail of the outbox.
    pub async fn send(&self, body: &Json) -> Result<(), MailError> {
        let text = |key: &str| body[key].as_str().unwrap_or_default();
        let german = text("locale").starts_with("de");
        let (subject, content) =
            if text("kind") == "code" { code(body, german) } else { notice(body, german) };
        let from = self.from.parse().map_err(|_| MailError::Refused)?;
        let to = text("to").parse().map_err(|_| MailError::Refused)?;
        let mail = Message::builder()
            .from(from)
            .to(to)
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(content)
            .map_err(|_| MailError::Refused)?;
        match self.transport.send(mail).await {
            Ok(_) => Ok(()),
            Err(e) if e.is_permanent() && !is_about_us(&e) => Err(MailError::Refused),
            Err(_) => Err(MailError::Unavailable),
        }
    }
}

/// Returns whether a reply rejects our login or commands instead of the mail (RFC 4954, section 6; RFC 5321, section
/// 4.2.3).
fn is_about_us(e: &lettre::transport::smtp::Error) -> bool {
    let code = e.status().map(u16::from);
    code.is_some_and(|code| matches!(code, 500..=504 | 521 | 530 | 534 | 535 | 538))
}

fn code(body: &Json, german: bool) -> (String, String) {
    let (code, product) =
        (body["code"].as_str().unwrap_or_default(), body["product"].as_str().unwrap_or_default());
    let life = life(body["minutes"].as_u64().unwrap_or(10), german);
    let why = body["why"].as_str();
    if german {
        let not_me = match why {
            Some("add") => {
                "Jemand gibt diese Adresse bei einem Konto an. Waren Sie das nicht? Dann ignorieren Sie diese E-Mail."
            }
            Some("test") => {
                "Das ist ein Test aus Ihren Einstellungen. Waren Sie das nicht? Dann ändern Sie Ihr Passwort."
            }
            _ => {
                "Haben Sie diesen Code nicht angefordert? Dann kennt vielleicht jemand Ihr Passwort. Ändern Sie es."
            }
        };
        return (
            format!("{code} ist Ihr Code für {product}"),
            format!(
                "Ihr Code für {product} ist {code}.\n\nEr gilt noch {life}. {product} fragt nie am Telefon danach.\n{not_me}\n"
            ),
        );
    }
    let not_me = match why {
        Some("add") => "Somebody adds this address to an account. If this was not you, ignore this e-mail.",
        Some("test") => "This is a test from your settings. If this was not you, change your password.",
        _ => "If you did not ask for this code, somebody may know your password. Change it.",
    };
    (
        format!("{code} is your code for {product}"),
        format!(
            "Your code for {product} is {code}.\n\nIt expires in {life}. {product} never asks for it by phone.\n{not_me}\n"
        ),
    )
}

/// The life of a code in words: in hours if it is two hours or more, else in minutes.
fn life(minutes: u64, german: bool) -> String {
    let (count, one, many) = match (minutes, german) {
        (0..120, false) => (minutes, "minute", "minutes"),
        (0..120, true) => (minutes, "Minute", "Minuten"),
        (_, false) => (minutes / 60, "hour", "hours"),
        (_, true) => (minutes / 60, "Stunde", "Stunden"),
    };
    format!("{count} {}", if count == 1 { one } else { many })
}

fn notice(body: &Json, german: bool) -> (String, String) {
    let text = |key: &str| body[key].as_str().unwrap_or_default();
    let (product, link) = (text("product"), text("link"));
    let (subject, what) = crate::notice::words(text("about"), german);
    let not_me = if german {
        "Waren Sie das nicht? Stoppen Sie die Änderung hier:"
    } else {
        "If this was not you, stop it here:"
    };
    (format!("{product}: {subject}"), format!("{what}\n\n{not_me}\n{link}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_a_code_is_given_in_minutes_or_hours() {
        let said = [1, 10, 119, 120, 1440].map(|minutes| life(minutes, false));
        assert_eq!(said, ["1 minute", "10 minutes", "119 minutes", "2 hours", "24 hours"]);
        assert_eq!(
            [life(1, true), life(10, true), life(1440, true)],
            ["1 Minute", "10 Minuten", "24 Stunden"]
        );
    }
}
