//! The machine-readable contracts, generated from the code. `docs/contracts` holds the documents of this version, and a test
//! fails when one of them differs.

mod asyncapi;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::domain::words::words;
use crate::intake::{CancelShape, FeedbackShape, JobShape, NextShape};
use crate::outbox::cloud_event::CloudEvent;

words! {
    /// A contract document.
    Contract {
        /// The HTTP API (`OpenAPI`).
        Openapi = "openapi",
        /// The messages on the broker (`AsyncAPI`).
        Asyncapi = "asyncapi",
        /// The JSON Schema of a job.
        Job = "job",
        /// The JSON Schema of feedback about a code.
        Feedback = "feedback",
        /// The JSON Schema of a request for the next step.
        Next = "next",
        /// The JSON Schema of a cancel request.
        Cancel = "cancel",
        /// The JSON Schema of an event.
        Event = "event",
    }
}

impl Contract {
    /// The file name in `docs/contracts`.
    pub fn file(self) -> String {
        match self {
            Self::Openapi | Self::Asyncapi => format!("{self}.json"),
            _ => format!("{self}.schema.json"),
        }
    }

    /// A description in one line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Openapi => "the HTTP API (OpenAPI 3.1)",
            Self::Asyncapi => "exchanges, queues and messages of RabbitMQ (AsyncAPI 3.0)",
            Self::Job => "a job, over RabbitMQ and HTTP (JSON Schema 2020-12)",
            Self::Feedback => "a message with the routing key feedback (JSON Schema 2020-12)",
            Self::Next => "a message with the routing key next (JSON Schema 2020-12)",
            Self::Cancel => "a message with the routing key cancel (JSON Schema 2020-12)",
            Self::Event => "an event, over the broker, webhooks and SSE (JSON Schema 2020-12)",
        }
    }

    /// The document as JSON.
    pub fn document(self) -> Value {
        match self {
            Self::Openapi => crate::http::document(),
            Self::Asyncapi => asyncapi::document(),
            Self::Job => self.schema::<JobShape>(received()),
            Self::Feedback => self.schema::<FeedbackShape>(received()),
            Self::Next => self.schema::<NextShape>(received()),
            Self::Cancel => self.schema::<CancelShape>(received()),
            Self::Event => self.schema::<CloudEvent>(sent()),
        }
    }

    /// The text of the file.
    pub fn text(self) -> String {
        format!("{:#}\n", self.document())
    }

    fn schema<T: JsonSchema>(self, settings: SchemaSettings) -> Value {
        let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
        schema["$id"] = json!(format!("https://otpost.io/contracts/{}", self.file()));
        schema
    }
}

/// Schema settings for messages that otpost receives.
fn received() -> SchemaSettings {
    SchemaSettings::draft2020_12().for_deserialize()
}

/// Schema settings for messages that otpost sends.
fn sent() -> SchemaSettings {
    SchemaSettings::draft2020_12().for_serialize()
}
