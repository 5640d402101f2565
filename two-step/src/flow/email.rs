//! E-mail addresses. The user adds one and types a code, or the product sends one that it has validated.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::author::Author;
use super::enrol::AddRefused;
use super::{Core, FlowError};
use crate::account::Account;
use crate::method::{Kind, Method, STOPPED};
use crate::seal::{Hashed, Sealed};
use crate::store::{Tx, Value, new_id};

impl Core {
    /// Adds an e-mail address, and mails its first code.
    pub async fn add_email(
        &self, by: impl Into<Author>, address: &str,
    ) -> Result<Result<Uuid, AddRefused>, FlowError> {
        let address = address.trim();
        if !is_address(address) {
            return Ok(Err(AddRefused::Address));
        }
        let mut tx = self.store.begin().await?;
        let settings = self.settings(&mut tx, &by.into()).await?;
        let hash = self.keys.hash_text(Hashed::Target, &address.to_lowercase());
        if settings.methods.iter().any(|m| m.is_kept() && m.target_hash.as_ref() == Some(&hash)) {
            return Ok(Err(AddRefused::Known));
        }
        self.replace_pending(&mut tx, &settings, Kind::Email).await?;
        let mut method = Method::new(new_id(), settings.account.id, Kind::Email, settings.now);
        method.target_sealed = Some(self.keys.seal(Sealed::MethodTarget, method.id, address.as_bytes()));
        method.target_hash = Some(hash);
        method.hint = mail_hint(address);
        tx.insert(&method).await?;
        self.enrol(tx, &settings, &method, None).await
    }

    /// Stores an address that the product validated, as if the user had verified it.
    pub(super) async fn keep_email(
        &self, tx: &mut Tx, account: &Account, visit: Uuid, address: &str, now: Timestamp,
    ) -> Result<(), FlowError> {
        let hash = self.keys.hash_text(Hashed::Target, &address.to_lowercase());
        let known = "where account = $1 and kind = 'email' and state <> 'removed' order by id";
        let all = tx.select_locked::<Method>(known, &[Value::Uuid(account.id)]).await?;
        let (mut same, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|m| m.target_hash.as_ref() == Some(&hash));
        // The product has another address of the user now.
        for mut earlier in others.into_iter().filter(|m| m.from_product) {
            self.notify(tx, account, std::slice::from_ref(&earlier), "method_removed", now).await?;
            self.remove_method(tx, &mut earlier, "product", now).await?;
            let data = json!({"method": earlier.id, "kind": "email"});
            self.event(tx, account, "method.removed", "product", data, now).await?;
        }
        if same.iter().any(|m| m.is_paused_for(STOPPED)) {
            return Ok(());
        }
        let is_new = same.is_empty();
        let mut method = same.pop().unwrap_or_else(|| Method::new(new_id(), account.id, Kind::Email, now));
        if is_new {
            method.from_product = true;
            method.target_sealed = Some(self.keys.seal(Sealed::MethodTarget, method.id, address.as_bytes()));
            method.target_hash = Some(hash);
            method.hint = mail_hint(address);
            tx.insert(&method).await?;
        }
        if !method.is_active() {
            method.activate(now);
            let data = json!({"method": method.id, "kind": "email"});
            self.event(tx, account, "method.added", "product", data, now).await?;
        }
        method.proved_in = Some(visit);
        Ok(tx.update(&method).await?)
    }
}

/// Returns whether a text is an e-mail address that can be a recipient (RFC 5321, section 4.5.3.1.3).
pub(super) fn is_address(text: &str) -> bool {
    text.len() <= 254 && text.parse::<lettre::Address>().is_ok()
}

/// Masks an address to its first letter and its domain: `a•••@shop.example`.
fn mail_hint(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    format!("{}•••@{domain}", local.chars().next().unwrap_or('•'))
}
