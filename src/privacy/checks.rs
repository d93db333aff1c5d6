//! The privacy list: one function per rule, in the order of DESIGN §6 and reference/comment-privacy.md §1.
//!
//! A check answers `Pass` or `Settle`, each with its reason in words an agent would use. Every check says for
//! itself whom it looks at, so that it can be read without its neighbours.

use super::facts::{Command, Facts};
use super::{Answer, Outcome, Rule};
use crate::domain::settings::{EndUserMailOnPrivateTicket, FollowerReplies};
use Answer::{Pass, Settle};
use Outcome::{Private, Public, Suspended};

#[derive(Debug)]
pub(super) struct Check {
    pub(super) rule: Rule,
    pub(super) run: fn(&Facts) -> Answer,
}

/// The order is the specification. What no check settles, [`DEFAULT`] does.
pub(super) const CHECKS: [Check; 13] = [
    Check {
        rule: Rule {
            number: "0",
            name: "agent-requester-hidden-notes",
            sentence: "An agent who is the requester and may not see the notes is taken for an end user who \
                       may edit their own request.",
            settles: None,
        },
        run: agent_requester_hidden_notes,
    },
    Check {
        rule: Rule {
            number: "1.1",
            name: "agent-outside-ticket",
            sentence: "An agent who cannot edit the ticket, found by encoded ID, and is neither assignee, \
                       follower nor CC writes privately, flagged.",
            settles: Some(Private),
        },
        run: agent_outside_ticket,
    },
    Check {
        rule: Rule {
            number: "1.2",
            name: "end-user-outside-ticket",
            sentence: "An end user who cannot edit the ticket, found by encoded ID, and is neither requester \
                       nor CC writes privately, flagged.",
            settles: Some(Private),
        },
        run: end_user_outside_ticket,
    },
    Check {
        rule: Rule {
            number: "2",
            name: "outsider-without-encoded-id",
            sentence: "An update by somebody who cannot edit the ticket, not found by encoded ID, waits for a \
                       person.",
            settles: Some(Suspended),
        },
        run: outsider_without_encoded_id,
    },
    Check {
        rule: Rule {
            number: "3.1",
            name: "cc-drops-requester",
            sentence: "A CC who leaves the requester off the mail writes privately, unless CC comments are \
                       public.",
            settles: Some(Private),
        },
        run: cc_drops_requester,
    },
    Check {
        rule: Rule {
            number: "3.2",
            name: "cc-writes-to-others",
            sentence: "A CC who leaves the requester off but writes to others than our support addresses \
                       writes privately, even if CC comments are public.",
            settles: Some(Private),
        },
        run: cc_writes_to_others,
    },
    Check {
        rule: Rule {
            number: "4",
            name: "end-user",
            sentence: "An end user writes publicly, except to a private ticket where the setting keeps that \
                       private.",
            settles: Some(Public),
        },
        run: end_user,
    },
    Check {
        rule: Rule {
            number: "5",
            name: "role-cannot-comment-publicly",
            sentence: "An agent whose role may not comment publicly writes privately.",
            settles: Some(Private),
        },
        run: role_cannot_comment_publicly,
    },
    Check {
        rule: Rule {
            number: "F",
            name: "follower-reply",
            sentence: "An agent who is a follower, and neither requester, assignee nor CC, writes privately, \
                       as the setting says.",
            settles: Some(Private),
        },
        run: follower_reply,
    },
    Check {
        rule: Rule {
            number: "6",
            name: "note-command",
            sentence: "An agent who wrote `#note` or `#public false` writes privately.",
            settles: Some(Private),
        },
        run: note_command,
    },
    Check {
        rule: Rule {
            number: "7",
            name: "agent-email-private-by-default",
            sentence: "Mail of agents is private where the account says so, unless `#public` overrides that.",
            settles: Some(Private),
        },
        run: agent_email_private_by_default,
    },
    Check {
        rule: Rule {
            number: "8",
            name: "private-ticket",
            sentence: "An update of a private ticket stays private.",
            settles: Some(Private),
        },
        run: private_ticket,
    },
    Check {
        rule: Rule {
            number: "9",
            name: "repeats-private-comment",
            sentence: "An agent's mail that repeats a private comment, or answers the notification of one, is \
                       private.",
            settles: Some(Private),
        },
        run: repeats_private_comment,
    },
];

/// Rule 10. What no rule above settled is public.
pub(super) const DEFAULT: Rule = Rule {
    number: "10",
    name: "default-public",
    sentence: "What no rule above settled is public.",
    settles: Some(Public),
};

/// Rule 0. An agent who is the requester and may not see the notes is taken for an end user who may edit their
/// own request.
///
/// It stands before rule 1, which would otherwise make such an agent's mail private (comment-privacy.md, C3). The
/// fact implies that the author is the requester; it is not asked again.
fn agent_requester_hidden_notes(facts: &Facts) -> Answer {
    if facts.rule_0_applies() {
        return Pass(
            "the agent is the requester and may not see the notes: seen as an end user from here on",
        );
    }
    Pass("the author is taken for what they are")
}

/// Rule 1.1. An agent who cannot edit the ticket, found by encoded ID, and is neither assignee, follower nor CC
/// writes privately, flagged.
fn agent_outside_ticket(facts: &Facts) -> Answer {
    if let Some(because) = outside_rule_1(facts) {
        return Pass(because);
    }
    if !facts.acts_as_agent() {
        return Pass("the author is an end user");
    }
    if facts.author_is_assignee || facts.author_is_follower || facts.author_is_cc {
        return Pass("the agent is assignee, follower or CC");
    }
    Settle(Private, "an agent who cannot edit the ticket and has no part in it")
}

/// Rule 1.2. An end user who cannot edit the ticket, found by encoded ID, and is neither requester nor CC writes
/// privately, flagged.
fn end_user_outside_ticket(facts: &Facts) -> Answer {
    if let Some(because) = outside_rule_1(facts) {
        return Pass(because);
    }
    if facts.acts_as_agent() {
        return Pass("the author is an agent");
    }
    if facts.author_is_requester || facts.author_is_cc {
        return Pass("the end user is requester or CC");
    }
    Settle(Private, "an end user who cannot edit the ticket and has no part in it")
}

/// Why both halves of rule 1 have nothing to say, if so.
fn outside_rule_1(facts: &Facts) -> Option<&'static str> {
    if !facts.updating_ticket {
        return Some("the mail creates a ticket");
    }
    if !facts.found_by_encoded_id() {
        return Some("the ticket was not found by encoded ID");
    }
    if facts.may_edit() {
        return Some("the author can edit the ticket");
    }
    None
}

/// Rule 2. An update by somebody who cannot edit the ticket, not found by encoded ID, waits for a person.
///
/// It knows no exception for CCs and followers: without a token nothing vouches for the thread.
fn outsider_without_encoded_id(facts: &Facts) -> Answer {
    if !facts.updating_ticket {
        return Pass("the mail creates a ticket");
    }
    if facts.recovered {
        return Pass("a person let the mail in");
    }
    if facts.found_by_encoded_id() {
        return Pass("the ticket was found by encoded ID");
    }
    if facts.may_edit() {
        return Pass("the author can edit the ticket");
    }
    Settle(Suspended, "only message headers name the ticket, and the author cannot edit it")
}

/// Rule 3.1. A CC who leaves the requester off the mail writes privately, unless CC comments are public.
///
/// It applies to agents who are CCs too. It does not ask whether the mail updates a ticket: only a ticket that
/// exists has CCs, and if a caller says otherwise, private is the safe side.
fn cc_drops_requester(facts: &Facts) -> Answer {
    if let Some(because) = outside_rule_3(facts) {
        return Pass(because);
    }
    if facts.cc_comments_public {
        return Pass("CC comments are public");
    }
    Settle(Private, "a CC wrote without the requester, and CC comments are not public")
}

/// Rule 3.2. A CC who leaves the requester off but writes to others than our support addresses writes privately,
/// even if CC comments are public.
fn cc_writes_to_others(facts: &Facts) -> Answer {
    if let Some(because) = outside_rule_3(facts) {
        return Pass(because);
    }
    if !facts.recipients_beyond_support_addresses {
        return Pass("the mail went to support addresses only");
    }
    Settle(Private, "a CC wrote to others without the requester")
}

/// Why both halves of rule 3 have nothing to say, if so.
fn outside_rule_3(facts: &Facts) -> Option<&'static str> {
    if !facts.author_is_cc {
        return Some("the author is not a CC");
    }
    if facts.requester_is_direct_recipient {
        return Some("the requester is in To or Cc");
    }
    None
}

/// Rule 4. An end user writes publicly, except to a private ticket where the setting keeps that private.
fn end_user(facts: &Facts) -> Answer {
    if facts.acts_as_agent() {
        return Pass("the author is an agent");
    }
    let kept_private = facts.end_user_mail_on_private_ticket == EndUserMailOnPrivateTicket::Private;
    if kept_private && facts.updates_private_ticket() {
        return Pass("the ticket is private, and end users do not open private tickets");
    }
    if facts.cc_left_requester_off() {
        return Settle(Public, "the author is an end user; flagged, since the requester is not on the mail");
    }
    if facts.rule_0_applies() {
        return Settle(Public, "the author is seen as an end user");
    }
    Settle(Public, "the author is an end user")
}

/// Rule 5. An agent whose role may not comment publicly writes privately.
fn role_cannot_comment_publicly(facts: &Facts) -> Answer {
    if !facts.acts_as_agent() {
        return Pass("the author is an end user");
    }
    if facts.role_may_comment_publicly {
        return Pass("the author's role may comment publicly");
    }
    Settle(Private, "the author's role may not comment publicly")
}

/// Rule F. An agent who is a follower, and neither requester, assignee nor CC, writes privately, as the setting
/// says.
fn follower_reply(facts: &Facts) -> Answer {
    if !facts.acts_as_agent() {
        return Pass("the author is an end user");
    }
    if !facts.author_is_follower {
        return Pass("the author is not a follower");
    }
    if facts.author_is_requester || facts.author_is_assignee || facts.author_is_cc {
        return Pass("the follower is also requester, assignee or CC");
    }
    match facts.follower_replies {
        FollowerReplies::Private => Settle(Private, "a follower's reply is private"),
        FollowerReplies::Mirror if facts.notified_comment_was_private => {
            Settle(Private, "a follower answered a private comment")
        }
        FollowerReplies::Mirror => Pass("the follower did not answer a private comment"),
        FollowerReplies::AsAgent => Pass("a follower's reply is like any agent's"),
    }
}

/// Rule 6. An agent who wrote `#note` or `#public false` writes privately.
fn note_command(facts: &Facts) -> Answer {
    if !facts.acts_as_agent() {
        return Pass("the author is an end user, who has no commands");
    }
    match facts.command {
        Command::Note => Settle(Private, "the author wrote `#note`"),
        Command::NotPublic => Settle(Private, "the author wrote `#public false`"),
        Command::None | Command::Public => Pass("no command asks for a private comment"),
    }
}

/// Rule 7. Mail of agents is private where the account says so, unless `#public` overrides that.
fn agent_email_private_by_default(facts: &Facts) -> Answer {
    if !facts.acts_as_agent() {
        return Pass("the author is an end user");
    }
    if facts.agent_comments_public_by_default {
        return Pass("mail of agents is public by default");
    }
    if facts.public_command_overrides_default && facts.command == Command::Public {
        return Pass("the author wrote `#public`, which overrides the default");
    }
    Settle(Private, "mail of agents is private by default")
}

/// Rule 8. An update of a private ticket stays private.
///
/// An end user comes this far only where `end_user_mail_on_private_ticket` is `private`.
fn private_ticket(facts: &Facts) -> Answer {
    if !facts.updating_ticket {
        return Pass("the mail creates a ticket");
    }
    if !facts.ticket_is_private {
        return Pass("the ticket is public");
    }
    Settle(Private, "the ticket is private")
}

/// Rule 9. An agent's mail that repeats a private comment, or answers the notification of one, is private.
fn repeats_private_comment(facts: &Facts) -> Answer {
    if !facts.acts_as_agent() {
        return Pass("the author is an end user");
    }
    if facts.repeats_private_comment {
        return Settle(Private, "the mail repeats text or an attachment of a private comment");
    }
    if facts.notified_comment_was_private {
        return Settle(Private, "the mail answers the notification of a private comment");
    }
    Pass("the mail neither repeats nor answers a private comment")
}
