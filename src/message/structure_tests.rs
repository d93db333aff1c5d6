//! How a mail is divided: what is text, what is a file, and that no mail takes long.

use super::*;

#[test]
fn a_missing_close_boundary_loses_no_text() {
    let closed = [Defect::MissingCloseBoundary];
    check(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nHello\n",
        "Hello\n",
        &[],
        &closed,
    );
    check(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>Hello\n",
        "Hello\n",
        &[],
        &closed,
    );
    check("Content-Type: multipart/mixed; boundary=b\n\nHello\n", "Hello\n", &[], &closed);
    check("Content-Type: multipart/mixed\n\nHello\n", "Hello\n", &[], &closed);
    check(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nHello\n--b\nContent-Type: text/plain; name=a.txt\n\nfile\n",
        "Hello",
        &["a.txt"],
        &closed,
    );
}

/// A multipart of kind `kind` with the boundary `b`.
fn multipart(kind: &str, parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|part| format!("--b\n{part}\n")).collect();
    format!("Content-Type: multipart/{kind}; boundary=b\n\n{parts}--b--\n")
}

#[test]
fn what_somebody_wrote_is_text_even_if_no_empty_line_stands_above_it() {
    let hello = |part: &str, text: &str| check(&multipart("mixed", &[part]), text, &[], &[]);
    hello("Content-Type: text/plain\nHello world", "Hello world");
    hello("Hello,\nNote: it broke\n\nRegards", "Hello,\nNote: it broke\n\nRegards");
    hello("http://x.example/page\nand more", "http://x.example/page\nand more");
    hello("X-Own: 1\n\nHello", "Hello");
    hello("Name: Ada\nOrder: 55\n\nplease help", "Name: Ada\nOrder: 55\n\nplease help");
    // Lines that mailers broke are passed over where it goes on with what describes the part.
    let encoding = "Content-Transfer-Encoding: base64\n\nSGVsbG8=";
    hello(&format!("Content-Type: text/plain;\ncharset=\"utf-8\"\n{encoding}"), "Hello");
    hello(&format!("Mime Version: 1.0\n{encoding}"), "Hello");
    let inner = multipart("mixed", &["\nHello"]).replace("=b", "=i").replace("--b", "--i");
    hello(&inner.replace("; ", ";\n"), "Hello");
    hello(&inner.replace("; ", "\n "), "Hello");
    hello("Content-Type: text/plain\nHello\nContent: all of it", "Hello\nContent: all of it");
    let padding = "a".repeat(40_000);
    hello(&format!("X-Pad: {padding}\nContent-Transfer-Encoding: base64\n\nSGVsbG8="), "Hello");
    // The first delimiter stands where the header should have ended.
    let png = "--b\nContent-Type: image/png\n\nx\n--b--\n";
    let head = "Content-Type: multipart/mixed; boundary=b\n--b\n";
    check(&format!("{head}\nHello\n{png}"), "Hello", &["image/png"], &[]);
    let encoded = "Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable";
    check(&format!("{head}{encoded}\n\nNote: =C3=BC\n\nbye\n{png}"), "Note: ü\n\nbye", &["image/png"], &[]);
    check(
        &format!("{head}{encoded}\n\nHello\n{png}").replace("=b", "=\"b:b\"").replace("--b", "--b:b"),
        "Hello",
        &["image/png"],
        &[],
    );
    check(
        &format!("Content-Type: text/html\n{}", multipart("mixed", &["\nHello"])),
        "--b Hello --b--\n",
        &[],
        &[Defect::SeveralContentTypes],
    );
    check(
        &multipart("mixed", &[&head.replace("=b", "=i").replace("--b", "--i\n\nHello\n--i--")]),
        "Hello",
        &[],
        &[],
    );
}

#[test]
fn a_multipart_that_says_nothing_is_no_text() {
    check(&multipart("mixed", &[]), "", &[], &[]);
    check(
        &multipart("mixed", &["\nHello", &multipart("mixed", &[]).replace("=b", "=i").replace("--b", "--i")]),
        "Hello",
        &[],
        &[],
    );
    check(
        "Content-Type: multipart/mixed; boundary=b\n\nHello\n--b--\n",
        "Hello\n--b--\n",
        &[],
        &[Defect::MissingCloseBoundary],
    );
    check("Content-Type: multipart/mixed; boundary=\n \"b\"\n\n--b\n\nHello\n--b--\n", "Hello", &[], &[]);
}

#[test]
fn a_part_is_shown_or_a_file_but_never_neither() {
    let (text, html) = ("Content-Type: text/plain\n\ntext", "Content-Type: text/html\n\n<p>html</p>");
    let png = "Content-Type: image/png\n\nx";
    let inline = "Content-Disposition: inline; filename=a.txt\n\nHello";
    check(&multipart("mixed", &[png, inline]), "Hello", &["image/png"], &[]);
    let attached = format!("Content-Disposition: attachment\n{}", multipart("mixed", &["\n#solved"]));
    let attached = attached.replace("=b", "=i").replace("--b", "--i");
    check(&multipart("mixed", &[&attached, text]), "text", &["text/plain"], &[]);
    let broken = attached.replace("--i", "--x");
    check(
        &multipart("mixed", &[&broken, text]),
        "text",
        &["multipart/mixed"],
        &[Defect::MissingCloseBoundary],
    );
    let undivided = "Content-Type: multipart/related; boundary=i\n\nsource";
    let closed = [Defect::MissingCloseBoundary];
    check(&multipart("alternative", &[text, undivided]), "text", &["multipart/related"], &closed);
    check(&multipart("alternative", &[undivided]), "source", &[], &closed);
    let inner = multipart("alternative", &[undivided]).replace("=b", "=k").replace("--b", "--k");
    check(&multipart("mixed", &[text, &inner]), "text\nsource", &[], &closed);
    check(&multipart("alternative", &[html, text]), "text", &[], &[]);
    let both = mail(&multipart("alternative", &[text, html, "Content-Type: text/html\n\n<p>more</p>"]));
    assert_eq!(both.html.as_deref(), Some("<p>html</p>\n<p>more</p>"));
    assert!(both.attachments.is_empty());
}

/// The measure of safety: a stack as small as a thread's, and a few seconds.
fn on_a_small_stack(raw: String) -> InboundMessage {
    let started = std::time::Instant::now();
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || parse(raw.as_bytes()));
    let message = thread.unwrap().join().unwrap();
    assert!(started.elapsed().as_secs() < 5, "took {:?}", started.elapsed());
    message
}

#[test]
fn what_must_not_be_looked_into_is_kept_as_a_file() {
    let check = |rest: String, kept: usize, defect: Defect| {
        let message = on_a_small_stack(format!("{HEAD}{rest}"));
        assert!(message.defects.contains(&defect), "{:?}", message.defects);
        assert_eq!(message.attachments.iter().map(|file| file.content.len()).sum::<usize>(), kept);
        assert_eq!(message.from.len(), 1, "the headers are read all the same");
    };
    let parameters: String = (0..3_000).map(|n| format!(";\n a*{n}=x")).collect();
    check(format!("Content-Type: text/plain{parameters}\n\nbody\n"), 5, Defect::HeadersTooLong);
    check(
        format!(
            "Content-Type: multipart/x; boundary=b\n\n--b\nContent-ID: <1@x>\nContent-Type: text/plain{parameters}\n\nx\n--b--\n"
        ),
        1,
        Defect::HeadersTooLong,
    );
    let levels = |count: usize| -> String {
        (0..count).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n")).collect()
    };
    let deeper = levels(30_000).len() - levels(101).len();
    check(levels(30_000), "--b100\n".len() + deeper, Defect::TooManyLevels);
    check(format!("{}\nHello\n", levels(100)), 0, Defect::MissingCloseBoundary);
}

#[test]
fn messages_inside_the_message_are_not_looked_into() {
    for head in ["message/rfc822", "message(x)/rfc822"] {
        let nested = format!("Content-Type: {head}\n\n");
        let message = on_a_small_stack(format!("{HEAD}{}", nested.repeat(30_000)));
        assert_eq!(message.attachments[0].content, nested.repeat(29_999).as_bytes());
        assert_eq!((message.attachments.len(), message.defects), (1, vec![]));
    }
    let bomb = data_encoding::BASE64.encode("Content-Type: message/rfc822\n\n".repeat(40_000).as_bytes());
    let message = on_a_small_stack(format!(
        "{HEAD}Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{bomb}\n"
    ));
    assert_eq!(message.attachments.len(), 1);
    let digest = "Content-Type: multipart/digest; boundary=b\n\n--b\n\n".repeat(30_000);
    on_a_small_stack(format!("{HEAD}{digest}"));
}

#[test]
fn the_time_for_a_mail_does_not_grow_with_the_square_of_its_size() {
    let check = |inside: &str| {
        let part = format!("--b\n{inside}\n");
        let parts = part.repeat((4 << 20) / part.len());
        on_a_small_stack(format!("{HEAD}Content-Type: multipart/mixed; boundary=b\n\n{parts}"))
    };
    // Boundaries that never come, alone and in a digest, and parts of nothing.
    check("Content-Type: multipart/mixed; boundary=q\n\nx\n");
    check(
        "Content-Type: multipart/digest; boundary=q\n\n--q\n\nContent-Type: multipart/mixed; boundary=r\n\n",
    );
    let empty = check("");
    // Parameters in pieces, what begins like encoded words, and ids to look for in the HTML.
    let words = "=?aa?q? ".repeat(1_000);
    let pieces: String = (0..900).map(|n| format!(";{n}*1=x")).collect();
    for parameters in [format!("; a=\"{words}\""), pieces] {
        check(&format!("Content-Type: text/plain{parameters}\nContent-Disposition: inline{parameters}\n\nx"));
    }
    let addresses = "=?aa?q? ".repeat(30_000);
    on_a_small_stack(format!("To: {addresses}\nCc: {addresses}\n{HEAD}\nx\n"));
    let html = format!("--b\nContent-Type: text/html\n\n{}\n", "<p>cid:ax</p>\n".repeat(200_000));
    let pictures: String = (0..900)
        .map(|n| format!("--b\nContent-Type: image/png\nContent-ID: <{}{n}>\n\nx\n", "a".repeat(30)))
        .collect();
    on_a_small_stack(format!("{HEAD}Content-Type: multipart/mixed; boundary=b\n\n{html}{pictures}--b--\n"));
    assert!(empty.defects.contains(&Defect::TooManyParts), "{:?}", empty.defects);
    // Each level is gone through once more.
    let levels: String =
        (0..100).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n")).collect();
    on_a_small_stack(format!("{HEAD}{levels}\n{}", "--b --b\n".repeat(1 << 20)));
    on_a_small_stack(format!(
        "{HEAD}Content-Type: multipart/mixed; boundary=b\n\n--b\n{}",
        "a:\n".repeat(4 << 20)
    ));
}
