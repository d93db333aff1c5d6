//! The words in which mails speak of a ticket, as people who move from the product we follow know them.

use crate::domain::ticket::{Channel, Priority, Status, TicketType};

pub(super) fn status_word(status: Status) -> &'static str {
    match status {
        Status::New => "New",
        Status::Open => "Open",
        Status::Pending => "Pending",
        Status::Hold => "On-hold",
        Status::Solved => "Solved",
        Status::Closed => "Closed",
    }
}

pub(super) fn priority_word(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "Low",
        Priority::Normal => "Normal",
        Priority::High => "High",
        Priority::Urgent => "Urgent",
    }
}

pub(super) fn type_word(ticket_type: TicketType) -> &'static str {
    match ticket_type {
        TicketType::Question => "Question",
        TicketType::Incident => "Incident",
        TicketType::Problem => "Problem",
        TicketType::Task => "Task",
    }
}

pub(super) fn channel_word(channel: Channel) -> &'static str {
    match channel {
        Channel::Mail => "Mail",
        Channel::Api => "Web service",
        Channel::Rule => "Rule",
        Channel::ClosedTicket => "Closed ticket",
        Channel::System => "System",
    }
}
