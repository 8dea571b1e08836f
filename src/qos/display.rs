//! How policy values read in messages: the DDS names in kebab case.

use std::fmt::{Display, Formatter, Result};

use super::{
    Access, DestinationOrder, Durability, History, Liveliness, LivelinessKind, Overflow, Ownership,
    Partition, Presentation, Reliability, ResourceLimits,
};

macro_rules! display_names {
    ($($type:ident { $($variant:ident => $name:literal),+ $(,)? })+) => {$(
        impl Display for $type {
            fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                f.pad(match self { $(Self::$variant => $name),+ })
            }
        }
    )+};
}

display_names! {
    Durability {
        Volatile => "volatile",
        TransientLocal => "transient-local",
        Transient => "transient",
        Persistent => "persistent",
    }
    Reliability { BestEffort => "best-effort", Reliable => "reliable" }
    Ownership { Shared => "shared", Exclusive => "exclusive" }
    LivelinessKind {
        Automatic => "automatic",
        ManualByParticipant => "manual-by-participant",
        ManualByTopic => "manual-by-topic",
    }
    Access { Instance => "instance", Topic => "topic", Group => "group" }
    Overflow {
        Wait => "wait",
        DropOldest => "drop-oldest",
        DropNewest => "drop-newest",
        Disconnect => "disconnect",
    }
    DestinationOrder { ByReception => "by-reception", BySource => "by-source" }
}

impl Display for History {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::KeepLast(depth) => write!(f, "keep-last {depth}"),
            Self::KeepAll => f.write_str("keep-all"),
        }
    }
}

impl Display for Liveliness {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} with lease {}", self.kind, self.lease)
    }
}

impl Display for Presentation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}", self.access)?;
        if self.coherent {
            f.write_str(" coherent")?;
        }
        if self.ordered {
            f.write_str(" ordered")?;
        }
        Ok(())
    }
}

impl Display for Partition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{:?}", self.0)
    }
}

impl Display for ResourceLimits {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} samples, {} bytes", self.max_samples, self.max_bytes)
    }
}
