//! Templates: what placeholders show and to whom, and that no template and no value costs more than it may.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern::domain::address::Address;
use postern::domain::ids::{CommentId, GroupId, Salt, TicketId, UserId};
use postern::domain::people::{Group, Role, User};
use postern::domain::rule::KnownPeople;
use postern::domain::settings::{AccountSettings, Settings};
use postern::domain::snapshot::{Directory, Snapshot};
use postern::domain::ticket::{AttachmentRef, Channel, Comment, Status, Ticket, Visibility};
use postern::domain::time::{DAY, HOUR, Timestamp};
use postern::template::values::{Audience, ValuesInput, values};
use postern::template::{Mail, Template, TemplateError, render, render_frozen};
use proptest::prelude::*;

const KIM: UserId = UserId(1);
const ANA: UserId = UserId(10);
/// 2026-11-21T09:00:00Z
const NOW: Timestamp = Timestamp(1_795_251_600_000_000);

/// A ticket with its comments; texts come with who may see them.
struct World {
    ticket: Ticket,
    comments: Vec<Comment>,
    people: Snapshot,
    account: AccountSettings,
    suppress_comments: bool,
}

fn world(comments: &[(&str, Visibility)]) -> World {
    let user = |id, name: &str, address: &str, role| User {
        id,
        name: name.to_owned(),
        role,
        addresses: vec![Address::parse(address).unwrap()],
        organization: None,
        groups: vec![GroupId(1)],
        suspended: false,
        active: true,
        version: 1,
    };
    let kim = user(KIM, "Kim Lee", "kim@cust.example", Role::end_user());
    let ana = user(ANA, "Ana Ruiz", "ana@desk.example", Role::agent());
    let group = Group { id: GroupId(1), name: "Billing".to_owned(), private: false, active: true };
    let directory = Directory {
        agents: BTreeMap::from([(ANA, ana)]),
        groups: BTreeMap::from([(GroupId(1), group)]),
        ..Directory::default()
    };
    let people = Snapshot {
        users: BTreeMap::from([(KIM, kim)]),
        directory: Arc::new(directory),
        ..Snapshot::default()
    };
    let comments: Vec<Comment> = comments
        .iter()
        .enumerate()
        .map(|(index, (text, visibility))| comment(index, text, *visibility))
        .collect();
    let mut ticket = Ticket::blank(TicketId(7), Salt([0; 16]), KIM, Timestamp(NOW.0 - 400 * DAY));
    ticket.subject = "Printer on fire".to_owned();
    ticket.status = Status::Open;
    ticket.via = Channel::Mail;
    ticket.assignee = Some(ANA);
    ticket.group = Some(GroupId(1));
    ticket.tags = ["hot", "loud"].map(str::to_owned).into();
    ticket.ccs = BTreeSet::from([KIM]);
    ticket.followers = BTreeSet::from([ANA]);
    ticket.updated_at = NOW;
    let account = AccountSettings {
        name: "Desk".to_owned(),
        ..Settings::for_address("support@desk.example").unwrap().account
    };
    World { ticket, comments, people, account, suppress_comments: false }
}

fn comment(index: usize, text: &str, visibility: Visibility) -> Comment {
    let id = i64::try_from(index).unwrap() + 1;
    Comment {
        id: CommentId(id),
        ticket: TicketId(7),
        author: if index.is_multiple_of(2) { KIM } else { ANA },
        visibility,
        rule: "default-public".to_owned(),
        flags: BTreeSet::new(),
        text: text.to_owned(),
        via: Channel::Mail,
        journal: None,
        created_at: Timestamp(NOW.0 - 5 * HOUR + id),
        attachments: vec![AttachmentRef {
            name: Some("photo.png".to_owned()),
            media_type: "image/png".to_owned(),
            inline: false,
            content_id: None,
            sha256: [0; 32],
            size: 1,
        }],
    }
}

/// A public question, a public answer, and a note.
fn talk() -> World {
    let public = Visibility::Public;
    world(&[("My printer burns", public), ("Unplug it", public), ("SECRET plan", Visibility::Private)])
}

impl World {
    fn input(&self) -> ValuesInput<'_> {
        ValuesInput {
            ticket: &self.ticket,
            comments: &self.comments,
            people: KnownPeople { snapshot: &self.people, newcomers: &[] },
            current_user: Some(ANA),
            account: &self.account,
            follower_reply_type_message: "Your reply stays internal.",
            suppress_comments: self.suppress_comments,
            now: NOW,
        }
    }

    fn mail(&self, subject: &str, body: &str, audience: Audience) -> Result<Mail, TemplateError> {
        let values = values(&self.input(), audience);
        let mail = render(&Template::compile(subject)?, &Template::compile(body)?, &values);
        assert_eq!(render_frozen(subject, body, &values.freeze()), mail, "frozen values render alike");
        mail
    }

    fn text(&self, body: &str, audience: Audience) -> String {
        self.mail("s", body, audience).unwrap_or_else(|error| panic!("{body}: {error}")).text
    }
}

use Audience::{Agent, EndUser};

#[test]
fn placeholders_show_the_ticket_its_people_and_its_dates() {
    let world = talk();
    let check = |body: &str, text: &str| assert_eq!(world.text(body, EndUser), text, "{body}");
    check("{{ticket.id}} {{ticket.title}} ({{ticket.account}})", "7 Printer on fire (Desk)");
    check("{{ticket.status}} {{ticket.priority}}{{ticket.ticket_type}} {{ticket.via}}", "Open Ticket Mail");
    check("{{ticket.tags}}", "hot loud");
    check("{{ticket.requester.first_name}} {{ticket.requester.email}}", "Kim kim@cust.example");
    check(
        "{{ticket.assignee.name}}, {{ticket.group.name}}, {{current_user.name}}",
        "Ana Ruiz, Billing, Ana Ruiz",
    );
    check(
        "{{ticket.cc_names}}|{% for cc in ticket.ccs %}{{cc.name}} <{{cc.email}}>{% endfor %}",
        "Kim Lee|Kim Lee <kim@cust.example>",
    );
    check("{{ticket.created_at}} / {{ticket.updated_at_with_time}}", "Oct 17, 2025 / Nov 21, 09:00 UTC");
    check("{{ticket.updated_at_with_timestamp}}", "2026-11-21T09:00:00Z");
    check("{{ 'now' | date: '%Y-%m-%d' }}", "2026-11-21");
    check(
        "{% for comment in ticket.public_comments %}{{forloop.index}}{{comment.author.name}}: {{comment.value}}{% unless forloop.last %}; {% endunless %}{% endfor %}",
        "1Kim Lee: My printer burns; 2Ana Ruiz: Unplug it",
    );
    check("{% for a in ticket.comments.first.attachments %}{{a.filename}}{% endfor %}", "photo.png");
    assert_eq!(world.text("{{ticket.follower_names}}", Agent), "Ana Ruiz");
    check("{{ticket.follower_names}}", "");
}

#[test]
fn dates_are_shown_in_the_time_zone_of_the_account() {
    let mut world = talk();
    world.account.time_zone = "America/New_York".to_owned();
    assert_eq!(world.text("{{ticket.updated_at_with_time}}", Agent), "Nov 21, 04:00 EST");
}

#[test]
fn formatted_comments_come_newest_first_under_author_and_date() {
    let dashes = "-".repeat(46);
    let expected = format!(
        "{dashes}\n\nAna Ruiz, Nov 21, 2026, 04:00 UTC\n\nUnplug it\n\n\
         {dashes}\n\nKim Lee, Nov 21, 2026, 04:00 UTC\n\nMy printer burns\n"
    );
    assert_eq!(talk().text("{{ticket.comments_formatted}}", Agent), expected);
}

#[test]
fn unknown_placeholders_render_empty_wherever_they_stand() {
    let world = talk();
    for (body, text) in [
        ("[{{nothing}}]", "[]"),
        ("[{{ticket.foo}}{{ticket.foo.bar}}{{ticket.id.foo.bar}}{{ticket.comments[7].value}}]", "[]"),
        ("[{{ticket.encoded_id}}{{ticket.link}}{{ticket.url}}{{satisfaction.rating_url}}]", "[]"),
        ("{% if ticket.foo.bar %}yes{% else %}no{% endif %}", "no"),
        ("{% if ticket.foo == 'x' or ticket.foo %}yes{% else %}no{% endif %}", "no"),
        ("{% unless ticket.foo == nil %}yes{% else %}no{% endunless %}", "no"),
        ("{% case ticket.foo %}{% when 'x' %}x{% else %}no{% endcase %}", "no"),
        ("{% for x in ticket.foo %}x{% else %}none{% endfor %}", "none"),
        ("[{% for comment in ticket.comments %}{{comment.foo.bar}}{% endfor %}]", "[]"),
        (
            "[{{ticket.foo | upcase | first | join: ',' | plus: 1 | date: '%Y' | truncate: 5 | split: ','}}]",
            "[]",
        ),
        ("[{{ticket.foo | default: 'x'}}]", "[x]"),
        ("{% assign x = ticket.foo.bar %}[{{x}}{{x.y}}]", "[]"),
    ] {
        assert_eq!(world.text(body, EndUser), text, "{body}");
    }
}

#[test]
fn values_are_escaped_once_where_they_land_in_html() {
    let mut world = world(&[("1 < 2 & \"so\"\n<script>", Visibility::Public)]);
    world.ticket.subject = "<b>Bold</b>".to_owned();
    let check = |body: &str, text: &str, html: &str| {
        let mail = world.mail("s", body, EndUser).unwrap();
        assert_eq!((mail.text.as_str(), mail.html.as_str()), (text, html), "{body}");
    };
    let escaped = "1 &lt; 2 &amp; &quot;so&quot;<br>\n&lt;script&gt;";
    let plain = "1 < 2 & \"so\"\n<script>";
    check("{{ticket.latest_comment}}", plain, escaped);
    check("{{ticket.latest_comment_html}}", plain, escaped);
    check("{{ticket.latest_comment | newline_to_br | escape}}", plain, escaped);
    check("a < b, {{ticket.title}}", "a < b, <b>Bold</b>", "a &lt; b, &lt;b&gt;Bold&lt;/b&gt;");
    check("<p>{{ticket.latest_comment}}</p>", plain, &format!("<p>{escaped}</p>"));
    check("<p>{{- ticket.latest_comment_rich -}}</p>", plain, &format!("<p>{escaped}</p>"));
    check(
        "{% capture x %}<i>{{ticket.title}}</i>{% endcapture %}<p>{{x}}</p>",
        "<b>Bold</b>",
        "<p><i>&lt;b&gt;Bold&lt;/b&gt;</i></p>",
    );
    check(
        "{% capture x %}a{% endcapture %}{% assign x = ticket.title %}<p>{{x}}</p>",
        "<b>Bold</b>",
        "<p>&lt;b&gt;Bold&lt;/b&gt;</p>",
    );
}

#[test]
fn a_subject_is_one_line_without_control_characters() {
    let mut world = talk();
    world.ticket.subject = "Fire\r\nBcc: all@cust.example\u{7}".to_owned();
    let subject = |template: &str| world.mail(template, "b", Agent).unwrap().subject;
    assert_eq!(subject("Re:\n{{ticket.title}} "), "Re: Fire Bcc: all@cust.example");
    assert_eq!(subject("{{ticket.requester.name}}{{'\u{1b}' }}"), "Kim Lee");
    let long = "{{ticket.title}} ".repeat(200);
    assert_eq!(subject(&long).chars().count(), 500);
}

#[test]
fn a_mail_says_which_comments_it_may_show() {
    let world = talk();
    let check = |body: &str, audience, comments: &[i64], private: bool| {
        let mail = world.mail("s", body, audience).unwrap();
        let shown: Vec<i64> = mail.comments.iter().map(|id| id.0).collect();
        assert_eq!((shown.as_slice(), mail.shows_private_comment), (comments, private), "{body}");
    };
    check("{{ticket.title}} {{ticket.requester.name}}", Agent, &[], false);
    check("{{ticket.latest_comment_formatted}}", Agent, &[3], true);
    check("{{ticket.latest_comment_formatted}}", EndUser, &[2], false);
    check("{{ticket.latest_public_comment}}", Agent, &[2], false);
    check("{{ticket.comments_formatted}}", Agent, &[1, 2], false);
    check("{{ticket.description}}", Agent, &[1], false);
    check("{% for c in ticket.comments %}{% endfor %}", EndUser, &[1, 2], false);
    check("{% if ticket.latest_comment contains 'x' %}x{% endif %}", Agent, &[3], true);
    check("{{ticket['latest_comment_rich'] | size}}", Agent, &[3], true);
    check("{% assign t = ticket %}", Agent, &[1, 2, 3], true);
    check("{{ticket}}", EndUser, &[1, 2], false);
    let mail = world.mail("{{ticket.latest_comment}}", "b", Agent).unwrap();
    assert!(mail.shows_private_comment, "a subject counts too");
}

#[test]
fn a_ticket_without_subject_is_called_by_its_first_comment_that_the_reader_may_see() {
    let mut world = world(&[("SECRET first", Visibility::Private), ("Public second", Visibility::Public)]);
    world.ticket.subject = " ".to_owned();
    assert_eq!(world.text("{{ticket.title}}", EndUser), "Public second");
    let mail = world.mail("{{ticket.title}}", "b", Agent).unwrap();
    assert_eq!((mail.subject.as_str(), mail.shows_private_comment), ("SECRET first", true));
}

/// Case 27 of reference/triggers-and-automations.md part J.
#[test]
fn j27_the_first_reply_to_a_stranger_repeats_nothing_of_the_mail() {
    let mut world = talk();
    world.suppress_comments = true;
    world.ticket.subject = String::new();
    for placeholder in COMMENT_PLACEHOLDERS {
        assert_eq!(world.text(&format!("{{{{ticket.{placeholder}}}}}"), EndUser), "", "{placeholder}");
    }
    assert_eq!(world.text("{{ticket.title}}", EndUser), "");
    assert_eq!(world.text("{{ticket.id}}", EndUser), "7");
}

const COMMENT_PLACEHOLDERS: [&str; 16] = [
    "comments",
    "public_comments",
    "description",
    "verbatim_description",
    "latest_comment",
    "latest_comment_html",
    "latest_comment_rich",
    "latest_comment_formatted",
    "latest_public_comment",
    "latest_public_comment_html",
    "latest_public_comment_rich",
    "latest_public_comment_formatted",
    "comments_formatted",
    "public_comments_formatted",
    "comments.first.value",
    "comments.last.value_rich",
];

#[test]
fn what_is_too_much_is_refused_when_it_is_read() {
    let check = |source: &str, line: usize, what: &str| {
        let error = Template::compile(source).map(|_| ()).expect_err(source);
        assert_eq!(error.line, Some(line), "{error}");
        assert!(error.what.contains(what), "`{what}` is not in: {error}");
    };
    let nested = |depth: usize, open: &str, close: &str| open.repeat(depth) + &close.repeat(depth);
    check(&nested(3, "{% for x in y %}\n", "{% endfor %}"), 3, "loops are nested too deep");
    check(&nested(21, "{% if x %}", "{% endif %}"), 1, "blocks are nested too deep");
    check(&nested(240, "{% if x %}", "{% endif %}"), 1, "blocks are nested too deep");
    check("a\n{% for x in (1..1001) %}{% endfor %}", 2, "the range is too long");
    check("{% for x in (-9..999999999999) %}{% endfor %}", 1, "the range is too long");
    check("{% for x in (1..ticket.id) %}{% endfor %}", 1, "the range is not literal");
    check("{% tablerow x in y %}{% endtablerow %}", 1, "unknown tag");
    check("é\n\n{% include 'x' %}", 3, "unknown tag");
    check("{% render 'x' %}", 1, "unknown tag");
    check("{{ x | shout }}", 1, "unknown filter `shout`");
    check("\n{% assign x = y | shout %}", 2, "expected");
    check("{{ x", 1, "not closed");
    check("a\n{% if x %}", 2, "");
    check("{{ 99999999999999999999 }}", 1, "a number is too long");
    check(&"x".repeat(64 * 1024 + 1), 1, "the template is too long");
    check(&" ".repeat(600), 1, "white space");
    check(&format!("{{{{ {} }}}}", "a[".repeat(100)), 1, "`[`");
    check(&format!("{{{{ a{} }}}}", " | upcase".repeat(200)), 1, "a placeholder or tag is too long");
    check(&"{% assign x = 1 %}".repeat(501), 1, "too many tags");
    // Sources on which the library's own error path would panic.
    check("{{ x | append: \"éééé\" }}{{ a \" }}{{ b \" }}", 1, "");
    check("{% if a == \"\n {{ \" %}{{ a \" }}{{ b \" }}{% endif %}", 2, "");
}

#[test]
fn bombs_end_soon_and_say_why() {
    let big = "x".repeat(40_000);
    let world = world(&[(big.as_str(), Visibility::Public), ("9223372036854775807", Visibility::Public)]);
    let loops = |body: &str| {
        format!("{{% for a in (1..1000) %}}{{% for b in (1..1000) %}}{body}{{% endfor %}}{{% endfor %}}")
    };
    let doubling = "{% assign a = a | append: a %}".repeat(60);
    let capture = "{% capture a %}{{a}}{{a}}{% endcapture %}".repeat(40);
    let replace = "{{ ticket.description | replace: 'x', ticket.description }}";
    let many = (0..400).map(|n| format!("{{% assign v{n} = ticket.description %}}")).collect::<String>();
    for (body, what) in [
        (loops(""), "too much work"),
        (loops("").repeat(50), "too much work"),
        (loops("{{''}}".repeat(2000).as_str()), "too much work"),
        (loops("{% assign c = a | plus: b | times: 3 %}"), "too much work"),
        (loops("{{ticket.description | upcase | size}}"), "too much work"),
        (loops("{% if ticket.description contains 'y' %}{% endif %}"), "too much work"),
        (loops("xxxxxxxx").replacen("1000", "100", 1), "the output is too long"),
        (format!("{{% assign a = 'xx' %}}{doubling}"), "a value grows too long"),
        (format!("{{% assign a = 'xx' %}}{capture}"), "a captured text is too long"),
        (replace.to_owned(), "a value grows too long"),
        (
            "{{ ticket.description | split: '' | join: ticket.description }}".to_owned(),
            "a list grows too long",
        ),
        (many, "the variables of the template grow too long"),
        ("{{ 'now' | date: '%999999999Y' }}".to_owned(), "a width in the date format is too large"),
        ("{{ 99999999999 | times: 99999999999 }}".to_owned(), "a number is too large"),
        ("{{ ticket.latest_comment | plus: 1 }}".to_owned(), "a number is too large"),
        ("{{ 1 | divided_by: 0 }}".to_owned(), "invalid argument"),
        ("{{ticket.description}}".repeat(8), "the output is too long"),
    ] {
        let start = Instant::now();
        let error = world.mail("s", &body, EndUser).expect_err(body.get(..60).unwrap_or(&body));
        let took = start.elapsed();
        assert!(error.what.contains(what), "`{what}` is not in: {error}");
        assert!(took < Duration::from_secs(10), "{what}: {took:?}");
        assert!(!error.what.contains("xxxxx"), "an error quotes a value: {error}");
    }
}

#[test]
fn ordinary_templates_are_far_from_the_limits() {
    let long = "word ".repeat(2000);
    let texts: Vec<(&str, Visibility)> = (0..100).map(|_| (long.as_str(), Visibility::Public)).collect();
    let world = world(&texts);
    let body = "{% for comment in ticket.comments reversed limit:20 offset:0 %}<p>{{comment.author.name}} wrote \
                {{comment.created_at_with_time}}:<br>{{comment.value | truncate: 300 | strip_html}}</p>\
                {% for file in comment.attachments %}<li>{{file.filename}}</li>{% endfor %}{% endfor %}";
    let mail = world.mail("{{ticket.title}}", body, EndUser).unwrap();
    assert_eq!(mail.text.matches("Ana Ruiz wrote").count() + mail.text.matches("Kim Lee wrote").count(), 16);
}

#[test]
fn the_deepest_template_that_is_allowed_can_be_read_and_rendered() {
    let world = talk();
    let elsifs = format!("{{% if x %}}{}{{% endif %}}", "{% elsif x %}".repeat(498));
    let condition = format!("{{% if x{} %}}y{{% endif %}}", " or x".repeat(190));
    let indexes = format!("{{{{ {}x{} }}}}", "a[".repeat(64), "]".repeat(64));
    let blocks = "{% if true %}".repeat(20) + "deep" + &"{% endif %}".repeat(20);
    for (body, text) in [(elsifs, ""), (condition, ""), (blocks, "deep")] {
        assert_eq!(world.text(&body, EndUser), text);
    }
    assert!(world.mail("s", &indexes, EndUser).is_err(), "nothing is no index");
}

/// Templates that touch each placeholder, in each way a template can.
fn prying_templates() -> Vec<String> {
    let mut templates = vec![
        "{{ticket}}{{current_user}}".to_owned(),
        "{% for pair in ticket %}{{pair}}{{pair[1]}}{% endfor %}".to_owned(),
        "{% assign t = ticket %}{{t}}{{t.latest_comment}}".to_owned(),
        "{% for c in ticket.comments %}{{c}}{{c.value}}{{c.value_rich}}{{c.author}}{% endfor %}".to_owned(),
        "{{ticket.comments | map: 'value' | join: ','}}{{ticket.comments | where: 'is_public', false | first}}".to_owned(),
        "{{ticket.title}}".to_owned(),
    ];
    for placeholder in COMMENT_PLACEHOLDERS {
        templates.push(format!("{{{{ticket.{placeholder}}}}}"));
        templates.push(format!("<p>{{{{ticket.{placeholder} | upcase | downcase}}}}</p>"));
        templates.push(format!("{{% capture x %}}{{{{ticket.{placeholder}}}}}{{% endcapture %}}{{{{x}}}}"));
    }
    templates
}

/// Pieces of which sources are made that come close to Liquid, and cross its limits.
fn source() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{{",
        "}}",
        "{%",
        "%}",
        "{{-",
        "-%}",
        "'",
        "\"",
        "|",
        ":",
        ",",
        ".",
        "[",
        "]",
        "(",
        ")",
        "..",
        "==",
        "=",
        " ",
        "\n",
        "\r\n",
        "\t",
        "é",
        "\u{1}",
        "for",
        "x",
        "in",
        "endfor",
        "if",
        "endif",
        "elsif",
        "else",
        "unless",
        "endunless",
        "case",
        "when",
        "endcase",
        "capture",
        "endcapture",
        "comment",
        "endcomment",
        "assign",
        "break",
        "ticket",
        "comments",
        "latest_comment",
        "description",
        "forloop",
        "and",
        "or",
        "contains",
        "limit",
        "append",
        "replace",
        "date",
        "slice",
        "split",
        "join",
        "times",
        "now",
        "nil",
        "empty",
        "1",
        "-1",
        "3.5",
        "999999999999",
        "{{ticket.title}}",
        "{% if x %}",
        "{% endif %}",
        "{% for x in ticket.comments %}",
        "{% endfor %}",
        "<p>",
        "</p>",
        "{{ x | append: \"",
        "\" }}",
        "{{ 'now' | date: '%Y' }}",
        "{% comment %}",
        "{% endcomment %}",
        "{{ ticket.description | slice: -3, 2 }}",
        "{% assign x = ticket.tags | split: ' ' %}",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Each filter on each kind of value, with each kind of argument.
fn filtered() -> impl Strategy<Value = String> {
    const FILTERS: &str = "abs append at_least at_most capitalize ceil compact concat date default divided_by downcase \
        escape first floor join last lstrip map minus modulo newline_to_br plus prepend remove remove_first replace \
        replace_first reverse round rstrip size slice split strip strip_html strip_newlines times truncate \
        truncatewords uniq upcase url_decode url_encode where";
    let filter = prop::sample::select(FILTERS.split_whitespace().collect::<Vec<_>>());
    let value = || {
        prop::sample::select(vec![
            "ticket",
            "ticket.comments",
            "ticket.comments.first",
            "ticket.ccs",
            "ticket.latest_comment",
            "ticket.nothing",
            "ticket.created_at_with_timestamp",
            "now",
            "'now'",
            "'é%_<b>'",
            "''",
            "'%Q %9N %z %s %-d %^b %E'",
            "'value'",
            "nil",
            "true",
            "empty",
            "0",
            "-1",
            "1",
            "3",
            "1000000000",
            "-1000000000",
            "99999999999999",
            "2.5",
            "-0.0",
            "'1e308'",
            "'NaN'",
            "'inf'",
            "'-9223372036854775808'",
            "'9223372036854775807'",
            "list",
        ])
    };
    let call = (filter, prop::collection::vec(value(), 0..3)).prop_map(|(filter, arguments)| {
        let separator = if arguments.is_empty() { "" } else { ": " };
        format!(" | {filter}{separator}{}", arguments.join(", "))
    });
    (value(), prop::collection::vec(call, 1..4)).prop_map(|(value, calls)| {
        format!("{{% assign list = 'b,a,,é' | split: ',' %}}{{{{ {value}{} }}}}", calls.concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// No mail to an end user holds text of a private comment, whatever the ticket and the template.
    #[test]
    fn private_text_never_reaches_an_end_user(
        privates in prop::collection::vec(any::<bool>(), 0..6),
        subject in prop::sample::select(vec!["", " ", "Help"]),
        suppress: bool,
    ) {
        let texts: Vec<(String, Visibility)> = privates.iter().enumerate().map(|(index, private)| {
            if *private { (format!("hush{index} & whisper"), Visibility::Private) }
            else { (format!("open{index} & loud"), Visibility::Public) }
        }).collect();
        let comments: Vec<(&str, Visibility)> = texts.iter().map(|(text, who)| (text.as_str(), *who)).collect();
        let mut world = world(&comments);
        world.ticket.subject = subject.to_owned();
        world.suppress_comments = suppress;
        for template in prying_templates() {
            let mail = world.mail(&template, &template, EndUser).unwrap_or_else(|error| panic!("{template}: {error}"));
            let all = format!("{}{}{}", mail.subject, mail.text, mail.html).to_lowercase();
            prop_assert!(!all.contains("hush") && !all.contains("whisper"), "{template}: {all}");
            prop_assert!(!mail.shows_private_comment, "{template}");
            let mut agent = String::new();
            let shown = world.mail(&template, &template, Agent).unwrap();
            write!(agent, "{}{}{}", shown.subject, shown.text, shown.html).unwrap();
            prop_assert!(shown.shows_private_comment || !agent.to_lowercase().contains("hush"), "{template} hides what it shows");
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the source, reading and rendering it end, without panic.
    #[test]
    fn no_source_panics(source in source()) {
        if let Ok(template) = Template::compile(&source) {
            let world = talk();
            let _ = render(&template, &template, &values(&world.input(), Agent));
        }
    }

    /// Whatever a filter is given, it answers or says that it cannot.
    #[test]
    fn no_filter_panics(template in filtered()) {
        if let Ok(template) = Template::compile(&template) {
            let world = talk();
            let _ = render(&template, &template, &values(&world.input(), Agent));
        }
    }

    #[test]
    fn no_text_panics(source in "(\\PC|[{}%|'\" \n]){0,60}") {
        let _ = Template::compile(&source);
    }
}
