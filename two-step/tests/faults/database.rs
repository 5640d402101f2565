//! A PostgreSQL database for one scenario.

use std::net::SocketAddr;

use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// A database that is dropped with the scenario.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        let url = std::env::var("OTPOST_TEST_DATABASE_URL")
            .expect("OTPOST_TEST_DATABASE_URL is not set: run scripts/faults");
        let (server, _) = url.rsplit_once('/').expect("the URL ends with a database");
        let database =
            Self { server: server.to_owned(), name: format!("faults_{}", Uuid::now_v7().simple()) };
        let name = &database.name;
        let admin = connect(&url).await;
        admin.batch_execute(&format!("create database {name}")).await.unwrap();
        // No scenario stops the server, so durability is not needed, and a slow disk does not delay the test.
        admin.batch_execute(&format!("alter database {name} set synchronous_commit = off")).await.unwrap();
        database
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    /// The same over a relay that can inject faults.
    pub(crate) fn url_by(&self, relay: SocketAddr) -> String {
        self.url().replace(&self.address().to_string(), &relay.to_string())
    }

    /// The server's address.
    pub(crate) fn address(&self) -> SocketAddr {
        let (_, place) = self.server.split_once('@').expect("the URL has a user");
        place.parse().expect("the tests' PostgreSQL URL has an address and a port")
    }

    /// Connects directly, without a relay.
    pub(crate) async fn connect_directly(&self) -> Client {
        connect(&self.url()).await
    }

    /// Returns every row of every table as text.
    pub(crate) async fn dump(&self) -> Vec<(String, String)> {
        let client = self.connect_directly().await;
        let tables = "select tablename::text from pg_tables where schemaname = 'public' order by 1";
        let mut all = vec![];
        for table in client.query(tables, &[]).await.unwrap() {
            let table: String = table.get(0);
            for row in client.query(&format!("select t::text from {table} t"), &[]).await.unwrap() {
                all.push((table.clone(), row.get(0)));
            }
        }
        all
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}

impl Drop for Database {
    fn drop(&mut self) {
        let (url, sql) = (
            format!("{}/postgres", self.server),
            format!("drop database if exists {} with (force)", self.name),
        );
        // The scenario's runtime may be shutting down.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let _ = runtime.map(|r| r.block_on(async { connect(&url).await.batch_execute(&sql).await }));
        });
        let _ = dropping.join();
    }
}
