//! A create request: its form and its authorisation.

use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::problem::Problem;
use crate::config::Config;
use crate::connection::ConnectionHandle;

/// The relevant parts of a request.
pub(super) struct Incoming {
    pub(super) connection: ConnectionHandle,
    pub(super) path: String,
    pub(super) account: String,
    pub(super) headers: HeaderMap,
    pub(super) form: Result<Form, Problem>,
}

impl<S: Send + Sync> FromRequest<S> for Incoming {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let rejected = |rejection: &dyn std::fmt::Display| rejection.to_string().into_response();
        let ConnectInfo(connection) = ConnectInfo::<ConnectionHandle>::from_request_parts(&mut parts, state)
            .await
            .map_err(|error| rejected(&error))?;
        let Path(account) =
            Path::<String>::from_request_parts(&mut parts, state).await.map_err(|error| rejected(&error))?;
        let (path, headers) = (parts.uri.path().to_owned(), parts.headers.clone());
        let form = axum::Form::from_request(Request::from_parts(parts, body), state).await;
        let form = form.map(|axum::Form(pairs)| Form(pairs)).map_err(|rejection| unreadable(&rejection));
        Ok(Self { connection, path, account, headers, form })
    }
}

/// Twilio's message for an unreadable body is **unverified**.
fn unreadable(rejection: &FormRejection) -> Problem {
    Problem::new(
        rejection.status().as_u16(),
        20001,
        format!("The body is not a form: {}", rejection.body_text()),
    )
}

/// The parameters, in their order.
pub(super) struct Form(pub(super) Vec<(String, String)>);

impl Form {
    /// Returns the first non-empty value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// Returns all values of a repeated parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// HTTP Basic with the account SID and its token, on the account's own path.
pub(super) fn check_account(
    headers: &HeaderMap, account: &str, path: &str, config: &Config,
) -> Result<(), Problem> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| BASE64_STANDARD.decode(encoded.trim()).ok());
    if given.as_deref() != Some(format!("{}:{}", config.account_sid, config.auth_token).as_bytes()) {
        return Err(Problem::unauthorized());
    }
    if account != config.account_sid {
        return Err(Problem::not_found(path));
    }
    Ok(())
}
