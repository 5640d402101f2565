//! Changes of a registered app: its key, its push endpoint, its removal.

use serde_json::json;

use super::events::Notice;
use super::verified_request::VerifiedRequest;
use super::{Core, FlowError, LockedRows, lock_account};
use crate::app_key::AppKey;
use crate::method::{Kind, Method, MethodState, UNREGISTERED, may_be_on};
use crate::public_key::PublicKey;
use crate::push::Endpoint;
use crate::seal::Sealed;
use crate::store::StoreError;

/// The data of an app's account that the app may see.
#[derive(Debug, Clone)]
pub struct AppAccount {
    /// The app's method.
    pub method: Method,
    /// The product.
    pub product: String,
    /// The user's name at the product, if the product sent one.
    pub display_name: Option<String>,
    /// Whether it has a push endpoint.
    pub has_push: bool,
}

/// Why a key was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefused {
    /// Not a P-256 key, or the key of another app.
    Key,
    /// The new key did not sign the change.
    Proof,
}

impl Core {
    /// Returns the account of an app.
    pub async fn app_account(&self, call: &VerifiedRequest) -> Result<AppAccount, FlowError> {
        let mut tx = self.store.begin().await?;
        let method = tx.get::<Method>(call.key.method).await?.ok_or(FlowError::Missing("method"))?;
        let account = tx.get::<crate::account::Account>(call.key.account).await?;
        let product = account.ok_or(FlowError::Missing("account"))?.product;
        let has_push = call.key.push_sealed.is_some();
        Ok(AppAccount { method, product, display_name: call.key.display_name.clone(), has_push })
    }

    /// Replaces an app's key. The old key signed the request; the new one must have signed `rekey:<old thumbprint>:<new
    /// thumbprint>`.
    pub async fn change_app_key(
        &self, call: &VerifiedRequest, new: &PublicKey, proof: &str,
    ) -> Result<Result<(), KeyRefused>, FlowError> {
        if !new.is_valid() {
            return Ok(Err(KeyRefused::Key));
        }
        let old = call.key.thumbprint.as_deref().unwrap_or_default();
        if !new.has_signed(format!("rekey:{old}:{}", new.thumbprint()).as_bytes(), proof) {
            return Ok(Err(KeyRefused::Proof));
        }
        let mut tx = self.store.begin().await?;
        let LockedRows { account, methods, now } = lock_account(&mut tx, call.key.account).await?;
        let mut key = tx.lock::<AppKey>(call.key.method).await?.ok_or(FlowError::Missing("method"))?;
        if key.thumbprint != call.key.thumbprint {
            return Err(FlowError::Missing("method"));
        }
        key.set_public(new);
        match tx.update(&key).await {
            Err(StoreError::Exists) => return Ok(Err(KeyRefused::Key)),
            updated => updated?,
        }
        // Somebody with brief access to the phone may have done this. The stop page of the notice can pause the app.
        let data = json!({"method": key.method, "kind": "app"});
        self.event(&mut tx, &account, "method.key_changed", "user", data, now).await?;
        let notice = Notice { about: "key_changed", except: Some(key.method), added: Some(key.method) };
        self.notify(&mut tx, &account, &methods, notice, now).await?;
        tx.wake_after_commit(&self.app_waits.changed);
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Sets or deletes the push endpoint of an app.
    pub async fn set_push(
        &self, call: &VerifiedRequest, endpoint: Option<&Endpoint>,
    ) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let mut key = tx.lock::<AppKey>(call.key.method).await?.ok_or(FlowError::Missing("method"))?;
        key.push_sealed = endpoint.map(|e| self.keys.seal(Sealed::Push, key.method, e.as_str().as_bytes()));
        tx.update(&key).await?;
        Ok(tx.commit().await?)
    }

    /// Deletes an endpoint that the push service reports as gone.
    pub async fn delete_push_endpoint(&self, method: uuid::Uuid, endpoint: &str) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let Some(mut key) = tx.lock::<AppKey>(method).await? else { return Ok(()) };
        let known = match &key.push_sealed {
            Some(sealed) => *self.keys.open_text(Sealed::Push, method, sealed)? == endpoint,
            None => false,
        };
        // The app may have set another endpoint in the meantime.
        if known {
            key.push_sealed = None;
            tx.update(&key).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Erases an app's key and removes its method. If the account needs the method, it is paused instead.
    pub async fn unregister_app(&self, call: &VerifiedRequest) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let mut locked = lock_account(&mut tx, call.key.account).await?;
        let now = locked.now;
        let left: Vec<Kind> = locked
            .methods
            .iter()
            .filter(|m| m.is_active() && m.id != call.key.method)
            .map(|m| m.kind)
            .collect();
        let needed = locked.account.is_on() && !may_be_on(&left, self.config().email.second_step);
        let index = locked.methods.iter().position(|m| m.id == call.key.method);
        let index = index.ok_or(FlowError::Missing("method"))?;
        let mut method = locked.methods[index].clone();
        if method.state == MethodState::Pending {
            self.delete_pending(&mut tx, &method).await?;
        } else if needed {
            method.pause(UNREGISTERED);
            tx.update(&method).await?;
            self.erase_app(&mut tx, &method).await?;
            locked.methods[index] = method.clone();
            self.notify_pause(&mut tx, &locked, method.id, UNREGISTERED).await?;
        } else {
            self.notify(&mut tx, &locked.account, &locked.methods, "method_removed", now).await?;
            self.remove_method(&mut tx, &mut method, "app", now).await?;
            let data = json!({"method": method.id, "kind": "app"});
            self.event(&mut tx, &locked.account, "method.removed", "user", data, now).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
