//! Removes methods with their secrets.

use jiff::Timestamp;

use super::{Core, FlowError};
use crate::app_key::AppKey;
use crate::method::{Kind, Method};
use crate::store::{Tx, Value};

impl Core {
    /// Erases the secrets of a method. The row stays for a while, because the history names it.
    pub(super) async fn remove_method(
        &self, tx: &mut Tx, method: &mut Method, reason: &str, now: Timestamp,
    ) -> Result<(), FlowError> {
        method.remove(reason, now);
        tx.update(method).await?;
        self.erase_secrets(tx, method).await
    }

    /// Deletes a method that was never active.
    pub(crate) async fn delete_pending(&self, tx: &mut Tx, method: &Method) -> Result<(), FlowError> {
        tx.delete::<Method>(method.id).await?;
        self.erase_secrets(tx, method).await
    }

    async fn erase_secrets(&self, tx: &mut Tx, method: &Method) -> Result<(), FlowError> {
        match method.kind {
            Kind::Recovery => {
                let of_account = "delete from recovery_code where account = $1";
                tx.execute(of_account, &[Value::Uuid(method.account)]).await?;
            }
            Kind::App => self.erase_app(tx, method).await?,
            Kind::Phone | Kind::Totp | Kind::Email => {}
        }
        Ok(())
    }

    /// Erases an app's key, and closes its open requests.
    pub(super) async fn erase_app(&self, tx: &mut Tx, method: &Method) -> Result<(), FlowError> {
        tx.delete::<AppKey>(method.id).await?;
        let open = "delete from app_request where account = $1 and method = $2 and state = 'open'";
        tx.execute(open, &[Value::Uuid(method.account), Value::Uuid(method.id)]).await?;
        tx.wake_after_commit(&self.app_waits.changed);
        Ok(())
    }
}
