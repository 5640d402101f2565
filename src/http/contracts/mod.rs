//! The contracts: what the doors take and tell, as documents for programs. Each is made from the code that it is about;
//! `docs/contracts` holds them as they are at this version, and a test says when one of them is not.

mod asyncapi;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::domain::words::words;
use crate::intake::{CancelShape, FeedbackShape, JobShape, NextShape};
use crate::outbox::cloud_event::CloudEvent;

words! {
    /// A document.
    Contract {
        /// The HTTP door.
        Openapi = "openapi",
        /// The broker.
        Asyncapi = "asyncapi",
        /// A job.
        Job = "job",
        /// What became of a code at its sender's.
        Feedback = "feedback",
        /// The order to take the next step.
        Next = "next",
        /// The order to make no further request.
        Cancel = "cancel",
        /// What the world hears.
        Event = "event",
    }
}

impl Contract {
    /// Its name among files.
    pub fn file(self) -> String {
        match self {
            Self::Openapi | Self::Asyncapi => format!("{self}.json"),
            _ => format!("{self}.schema.json"),
        }
    }

    /// What it is about, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Openapi => "the HTTP door (OpenAPI 3.1)",
            Self::Asyncapi => "exchanges, queues and messages of RabbitMQ (AsyncAPI 3.0)",
            Self::Job => "a job, at both doors (JSON Schema 2020-12)",
            Self::Feedback => "a message with the routing key feedback (JSON Schema 2020-12)",
            Self::Next => "a message with the routing key next (JSON Schema 2020-12)",
            Self::Cancel => "a message with the routing key cancel (JSON Schema 2020-12)",
            Self::Event => "an event, over the broker, webhooks and SSE (JSON Schema 2020-12)",
        }
    }

    /// The document.
    pub fn document(self) -> Value {
        match self {
            Self::Openapi => crate::http::document(),
            Self::Asyncapi => asyncapi::document(),
            Self::Job => self.schema::<JobShape>(taken()),
            Self::Feedback => self.schema::<FeedbackShape>(taken()),
            Self::Next => self.schema::<NextShape>(taken()),
            Self::Cancel => self.schema::<CancelShape>(taken()),
            Self::Event => self.schema::<CloudEvent>(told()),
        }
    }

    /// The document as its file holds it.
    pub fn text(self) -> String {
        format!("{:#}\n", self.document())
    }

    fn schema<T: JsonSchema>(self, settings: SchemaSettings) -> Value {
        let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
        schema["$id"] = json!(format!("https://otpost.io/contracts/{}", self.file()));
        schema
    }
}

/// How what we take is described.
fn taken() -> SchemaSettings {
    SchemaSettings::draft2020_12().for_deserialize()
}

/// How what we tell is described.
fn told() -> SchemaSettings {
    SchemaSettings::draft2020_12().for_serialize()
}
