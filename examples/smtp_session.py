"""The commands of SMTP for smtp_receiver.py: what each may say, and what it is answered.

From RFC 5321, sections 3 and 4.1, RFC 1870 (SIZE) and RFC 6152 (8BITMIME).  No connection is in it,
and nothing that is refused changes anything.
"""

import re

from smtp_message import Message, trace

from fastchat.channel import Reply

# A path of RFC 5321 behind its "<", and parameters; a route before the address is left out.
PATH = (
    rb"(?:@[^ <>:]+:)?"
    rb'((?:[^ <>()@,:;"\\]+|"(?:[^"\\]|\\.)*")@(?:[a-z0-9._-]+|\[[a-z0-9.:]+\])|%b)>'
    rb"((?: [!-~]+)*)"
)
CLIENT = rb"([a-z0-9._-]{1,255}|\[[a-z0-9.:]{1,255}\])"
# The arguments of each command.
COMMANDS = {
    b"EHLO": CLIENT,
    b"HELO": CLIENT,
    b"MAIL": rb"FROM:<" + PATH % b"",
    b"RCPT": rb"TO:<" + PATH % b"postmaster",
    b"DATA": rb"",
    b"RSET": rb"",
    b"QUIT": rb"",
    b"NOOP": rb"(?:.*)",
    b"VRFY": rb"(?:.+)",
    b"EXPN": rb"(?:.+)",
    b"HELP": rb"(?:.*)",
}
# What some are always answered.
REPLIES = {
    b"NOOP": b"250 OK",
    b"VRFY": b"252 send it, and see",
    b"EXPN": b"502 there are no lists",
    b"HELP": b"502 RFC 5321 helps",
}
# The parameters of MAIL.
PARAMETERS = {b"SIZE": rb"[0-9]{1,20}", b"BODY": rb"7BIT|8BITMIME"}


class Session:
    """What a client has said: its name, sender and recipients; then ``message``, while it comes."""

    sender: bytes | None
    recipients: list[bytes]
    message: Message | None

    def __init__(self, host: bytes, peer: str, max_message: int) -> None:
        self.host, self.peer, self.max_message = host, peer, max_message
        self.client = self.protocol = b""
        self.is_over = False
        self.rset()

    def command(self, line: bytes) -> Reply:
        name, _, argument = line.rstrip(b" \t").partition(b" ")
        name = name.upper()
        if re.search(rb"[^ -~]", name + argument):
            return b"500 a command is printable ASCII, and ends with CR LF"
        if name not in COMMANDS:
            return b"500 unknown command"
        found = re.fullmatch(COMMANDS[name], argument, re.IGNORECASE)
        if found is None:
            return b"501 those are no arguments of " + name
        if name in REPLIES:
            return REPLIES[name]
        reply: Reply = getattr(self, name.decode().lower())(*found.groups())
        return reply

    def helo(self, client: bytes, protocol: bytes = b"SMTP") -> Reply:
        self.rset()
        self.client, self.protocol = client, protocol
        return b"250 " + self.host

    def ehlo(self, client: bytes) -> Reply:
        self.helo(client, b"ESMTP")
        size = b"250-SIZE %d" % self.max_message
        return [b"250-" + self.host, size, b"250-8BITMIME", b"250 PIPELINING"]

    def mail(self, sender: bytes, parameters: bytes) -> Reply:
        if not self.client or self.sender is not None:
            return b"503 one MAIL, and EHLO before it"
        for parameter in parameters.upper().split():
            name, _, value = parameter.partition(b"=")
            if name not in PARAMETERS:
                return b"555 there is no parameter " + name
            if re.fullmatch(PARAMETERS[name], value) is None:
                return b"501 that is no value of " + name
            if name == b"SIZE" and int(value) > self.max_message:
                return b"552 a message has %d bytes at most" % self.max_message
        self.sender = sender
        return b"250 OK"

    def rcpt(self, recipient: bytes, parameters: bytes) -> Reply:
        if self.sender is None or parameters:
            return b"555 RCPT has no parameters" if parameters else b"503 MAIL comes first"
        if len(self.recipients) == 100:
            return b"452 enough: the others want a message of their own"
        self.recipients.append(recipient)
        return b"250 OK"

    def data(self) -> Reply:
        if self.sender is None or not self.recipients:
            return b"503 MAIL and RCPT come first"
        came = self.client, self.peer, self.host, self.protocol
        self.message = Message(trace(self.sender, self.recipients, *came), self.max_message)
        return b"354 go on, and end with CR LF . CR LF"

    def rset(self) -> Reply:
        self.sender, self.recipients, self.message = None, [], None
        return b"250 OK"

    def quit(self) -> Reply:
        self.is_over = True
        return b"221 goodbye"
