//! Errors of the broker connection, in our own words, because the texts of lapin and RabbitMQ quote URLs, payloads and users.

use std::io;

use lapin::{Error, ErrorKind};
use rustls::CertificateError;

/// Why there is no working connection. The text says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// A URL or its file of authorities cannot be used; holds a sentence.
    #[error("{0}")]
    Url(String),
    /// The connection could not be established.
    #[error("RabbitMQ cannot be reached ({0}); check that it runs and that amqp.url names its host and port")]
    Unreachable(&'static str),
    /// RabbitMQ rejected the user, the password or the vhost; holds the AMQP code.
    #[error("RabbitMQ rejects the login in amqp.url ({0}); {hint}", hint = login_hint(*.0))]
    LoginRejected(u16),
    /// An exchange or queue exists with other arguments.
    #[error(
        "RabbitMQ refuses the {0}: it exists with other arguments (406); consume its messages and delete it, and otpost declares it again, \
         or see whether this RabbitMQ is older than 3.10"
    )]
    OtherArguments(Operation),
    /// An exchange or queue does not exist, and declaring it is disabled.
    #[error("RabbitMQ has no {0} (404); run `otpost migrate`, or set amqp.declare = true")]
    Missing(Operation),
    /// The user lacks a permission on this object.
    #[error("RabbitMQ does not permit the {0} (403); give this user configure, write and read on ^otpost")]
    NotPermitted(Operation),
    /// RabbitMQ refused the operation with another AMQP code.
    #[error("RabbitMQ refuses the {0} ({1}); its log says why")]
    Refused(Operation, u16),
    /// RabbitMQ closed the connection; holds the AMQP code.
    #[error("RabbitMQ closed the connection ({0}); its log says why")]
    Closed(u16),
    /// A delivery was unacknowledged for longer than `consumer_timeout` (30 minutes by default).
    #[error(
        "RabbitMQ closed the channel (406): a delivery was held for longer than its consumer_timeout allows"
    )]
    AckTimeout,
    /// RabbitMQ cancelled the consumer of this queue.
    #[error("RabbitMQ cancelled the consumer of {0}: the queue was deleted, or lost its nodes")]
    Cancelled(&'static str),
    /// The connection ended without a close frame from RabbitMQ.
    #[error("the connection to RabbitMQ is lost ({0})")]
    Lost(&'static str),
    /// Publisher confirms do not arrive although the connection works.
    #[error("RabbitMQ accepts messages but does not confirm them; check that a majority of its nodes runs")]
    Unconfirmed,
    /// RabbitMQ has blocked the connections that publish.
    #[error("RabbitMQ blocks publishers: its alarm for memory or disk space is on; free some of it")]
    Blocked,
}

/// The operation that RabbitMQ refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening the connection.
    Connection,
    /// Declaring or checking an exchange.
    Exchange(&'static str),
    /// Declaring, checking or binding a queue.
    Queue(&'static str),
    /// Consuming a queue.
    Consumer(&'static str),
    /// Publishing messages to `otpost`.
    Publishing,
    /// Publishing events to `otpost.events`.
    PublishingEvents,
    /// Consuming events through a temporary queue.
    Listening,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connection => f.write_str("connection"),
            Self::Exchange(name) => write!(f, "exchange {name}"),
            Self::Queue(name) => write!(f, "queue {name}"),
            Self::Consumer(queue) => write!(f, "consumer of {queue}"),
            Self::Publishing => f.write_str("exchange published to"),
            Self::PublishingEvents => f.write_str("exchange otpost.events"),
            Self::Listening => f.write_str("queue for listening to events"),
        }
    }
}

impl BrokerError {
    pub(super) fn of(error: &Error, operation: Operation) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(e) => Self::of_code(e.get_id(), operation),
            ErrorKind::IOError(e) if operation == Operation::Connection => Self::Unreachable(describe(e)),
            ErrorKind::IOError(e) => Self::Lost(describe(e)),
            ErrorKind::MissingHeartbeatError => Self::Lost("no heartbeat came"),
            _ if operation == Operation::Connection => Self::Unreachable("the AMQP handshake failed"),
            _ => Self::Lost("it ended"),
        }
    }

    fn of_code(code: u16, operation: Operation) -> Self {
        match (code, operation) {
            (403 | 530, Operation::Connection) => Self::LoginRejected(code),
            (320 | 501..=506 | 541, _) | (_, Operation::Connection) => Self::Closed(code),
            (406, Operation::Exchange(_) | Operation::Queue(_)) => Self::OtherArguments(operation),
            (406, Operation::Consumer(_)) => Self::AckTimeout,
            (404, _) => Self::Missing(operation),
            (403, _) => Self::NotPermitted(operation),
            _ => Self::Refused(operation, code),
        }
    }
}

fn login_hint(code: u16) -> &'static str {
    match code {
        530 => {
            "the vhost in it does not exist, or the user has no permissions on it (the vhost \"/\" is written /%2f)"
        }
        _ => {
            "check the user and the password in it; special characters of a password must be percent-encoded, and guest may log in only \
              from the same machine"
        }
    }
}

fn describe(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    if let Some(rustls::Error::InvalidCertificate(refused)) = inner {
        return match refused {
            CertificateError::UnknownIssuer => {
                "its TLS certificate is signed by an authority that this machine does not know: name it in amqp.ca_file"
            }
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                "its TLS certificate has no subjectAltName, and the common name is ignored: make one with -addext \
                 subjectAltName=DNS:NAME"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its TLS certificate is for another name than the host"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its TLS certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its TLS certificate is not valid yet: check the clocks"
            }
            // The verifier has no variants for these errors, only their names.
            CertificateError::Other(e) => match e.to_string().as_str() {
                "CaUsedAsEndEntity" => {
                    "its TLS certificate is that of an authority (CA:TRUE), which no server may use: add -addext \
                     basicConstraints=critical,CA:FALSE to openssl req -x509"
                }
                "UnsupportedCertVersion" => {
                    "its TLS certificate is of X.509 version 1: make one of version 3, with a subjectAltName"
                }
                _ => "its TLS certificate is not valid",
            },
            _ => "its TLS certificate is not valid",
        };
    }
    // The standard library has no error kind for a failed name look-up. lapin has its own text for a name without an address.
    let text = error.to_string();
    if ["failed to lookup address information", "couldn't resolve host"].iter().any(|t| text.starts_with(*t))
    {
        return "the name of the host cannot be resolved";
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof => "closed by the peer",
        io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => "the peer is gone",
        io::ErrorKind::TimedOut => "timed out",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "no route to it",
        io::ErrorKind::InvalidData => "the TLS handshake failed",
        _ => "input or output failed",
    }
}

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs;

    use super::describe;

    #[test]
    fn an_unknown_host_has_an_error_of_its_own() {
        // A label has at most 63 characters, so no name server is asked.
        let unknown = (format!("{}.invalid", "x".repeat(64)), 5672).to_socket_addrs().unwrap_err();
        assert_eq!(describe(&unknown), "the name of the host cannot be resolved");
        assert_eq!(describe(&std::io::Error::other("x")), "input or output failed");
    }
}
