"""Devices that must not get in, and how many bytes of application data went either way all the same.

Two QUIC state machines and a clock that is a number. Both applications are as eager as can be: what they have to say is
sent the moment the handshake allows it, and with a ticket of an earlier session before that.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.tls import SessionTicket

from leafsync.engine.net.admission import Admission, Admitted, destination_of
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.limits import DEFAULT_LIMITS
from leafsync.engine.net.quic import Authorize, PinnedQuic, configuration_for

CLIENT = ("192.0.2.1", 50000)
SERVER = ("192.0.2.2", 4455)

TRUSTED, TRUSTED_SERVER = Identity.generate(), Identity.generate()
"""The devices that trust each other."""

SECRET = b"SECRET" * 500
"""What both sides have to say."""

ROUNDS = 40
"""Flights after which nothing new happens: a handshake with Retry takes 6."""


def no_key(configuration: QuicConfiguration) -> None:
    """Show no certificate at all."""
    configuration.certificate = configuration.private_key = None


def wrong_key(configuration: QuicConfiguration) -> None:
    """Show a key that nobody trusts."""
    other = Identity.generate()
    configuration.certificate, configuration.private_key = other.certificate, other.private_key


def stolen_certificate(configuration: QuicConfiguration) -> None:
    """Show the right certificate, and sign with another key."""
    configuration.private_key = Identity.generate().private_key


def resumed_session(configuration: QuicConfiguration) -> None:
    """Show a ticket, with which a client need not show a certificate and may send before the server has answered."""
    configuration.session_ticket = ticket()
    no_key(configuration)


def ticket() -> SessionTicket:
    """Return a ticket for 0-RTT, of a stock server that has the trusted server's key, for the trusted client."""
    tickets: list[SessionTicket] = []
    client = QuicConnection(
        configuration=configuration_for(TRUSTED, DEFAULT_LIMITS, is_client=True), session_ticket_handler=tickets.append
    )
    client.connect(SERVER, now=0.0)
    server = QuicConnection(
        configuration=configuration_for(TRUSTED_SERVER, DEFAULT_LIMITS, is_client=False),
        original_destination_connection_id=client.original_destination_connection_id,
        session_ticket_handler=lambda _ticket: None,
    )
    for turn in range(6):
        for source, sink, address in ((client, server, CLIENT), (server, client, SERVER)):
            for datagram, _ in source.datagrams_to_send(now=turn * 0.1):
                sink.receive_datagram(datagram, address, now=turn * 0.1)
    return tickets[0]


@dataclass
class Application:
    """One side: its state machine, and what went over its streams as the state machine has counted it."""

    quic: PinnedQuic
    sent: int = 0
    """Bytes of streams that left in packets."""
    received: int = 0
    """Bytes of streams that came in packets, whether the application was told or not."""
    delivered: int = 0
    """Bytes that the application was told."""
    established: bool = False
    seen: list[events.QuicEvent] = field(default_factory=list)

    def take_events(self) -> None:
        """Count, and say all there is to say as soon as there is a peer."""
        queue = self.quic.take_events()
        while queue:
            event = queue.popleft()
            self.seen.append(event)
            if isinstance(event, events.StreamDataReceived):
                self.delivered += len(event.data)
            elif isinstance(event, events.HandshakeCompleted):
                self.established = True
                self.say()

    def say(self) -> None:
        """Send SECRET on a new stream."""
        self.quic.send_stream_data(self.quic.get_next_available_stream_id(), SECRET, end_stream=True)

    def count(self) -> None:
        """Look at the streams: they are forgotten once they are finished."""
        streams = self.quic._streams.values()
        self.sent = max(self.sent, sum(stream.sender.highest_offset for stream in streams))
        self.received = max(self.received, sum(stream.receiver.highest_offset for stream in streams))

    @property
    def nothing(self) -> bool:
        """Whether not one byte went either way."""
        return (self.sent, self.received, self.delivered) == (0, 0, 0)


def converse(
    *,
    retry: bool,
    client: Callable[[QuicConfiguration], None] | None = None,
    server: Callable[[QuicConfiguration], None] | None = None,
    client_authorize: Authorize,
    server_authorize: Authorize,
) -> tuple[Application, Application]:
    """Have a client and a server talk until nothing happens any more; each may be somebody else than it should."""
    configuration = configuration_for(TRUSTED, DEFAULT_LIMITS, is_client=True)
    serving = configuration_for(TRUSTED_SERVER, DEFAULT_LIMITS, is_client=False)
    for pretend, settings in ((client, configuration), (server, serving)):
        if pretend is not None:
            pretend(settings)
    here = Application(_quic(configuration, client_authorize))
    there: Application | None = None
    admission = Admission(DEFAULT_LIMITS)
    here.quic.connect(SERVER, 0.0)
    if configuration.session_ticket is not None:
        here.say()
    for turn in range(ROUNDS):
        now = 0.05 * turn
        arriving = [datagram for datagram, _ in here.quic.datagrams_to_send(now)]
        here.take_events()
        here.count()
        if there is None and arriving:
            verdict: Admitted | bytes | None = Admitted(*[destination_of(arriving[0])] * 2)
            if retry:
                verdict = admission.judge(arriving[0], CLIENT, connections=0, now=now)
            if isinstance(verdict, bytes):
                here.quic.receive_batch([verdict], SERVER, now)
            elif verdict is not None:
                there = Application(_quic(serving, server_authorize, verdict, retry=retry))
        if there is not None:
            there.quic.receive_batch(arriving, CLIENT, now)
            there.take_events()
            answers = [datagram for datagram, _ in there.quic.datagrams_to_send(now)]
            there.take_events()
            there.count()
            here.quic.receive_batch(answers, SERVER, now)
            here.take_events()
            here.count()
    assert there is not None
    return here, there


def _quic(
    configuration: QuicConfiguration, authorize: Authorize, admitted: Admitted | None = None, *, retry: bool = False
) -> PinnedQuic:
    return PinnedQuic(
        configuration,
        own_fingerprint="",
        address="there",
        authorize=authorize,
        limits=DEFAULT_LIMITS,
        original_destination_connection_id=admitted.original_connection_id if admitted else None,
        retry_source_connection_id=admitted.connection_id if admitted and retry else None,
    )
