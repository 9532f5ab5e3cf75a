"""The IBKR session that is used, and how the simulated gateway behaves."""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class FaultConf:
    """Something that the simulated gateway does wrong on purpose. Not for clients in lock step, except `halt`."""

    kind: str = MISSING  # a name of the table in docs/guide.md
    at_s: float = 0.0  # market seconds after the market opened
    for_s: float = 0.0  # market seconds that it lasts; 0 = a moment: `count` frames, or for good where the kind says so
    every_s: float = 0.0  # comes again after so many market seconds, to the end of the market; 0 = once
    probability: float = 0.0  # of each frame to be hit, instead of at_s; faults of single frames only
    symbols: list[str] = field(default_factory=list)  # that it hits; empty = all
    count: int = 1  # frames or orders that are hit each time; of a restart: the order id it rolls back to
    data: bool = False  # whether the data go on by themselves afterwards


@dataclass
class SimulatorConf:
    """The simulated gateway: clock, feed and matching rules. Used when `kind` is `simulator`."""

    speed: float = 0.0  # market seconds per second: 0 = as fast as possible, 1 = real time
    skip_s: float = 0.0  # market time in which nothing happens is skipped if it is longer than this, as the nights of a week; 0 = none is
    latency_ms: float = 50.0  # market time from a decision to the moment its order or cancel takes effect
    conflation_ms: float = 0.0  # 0 = every row is sent, 250.3 = as IBKR samples reqMktData; not for clients in lock step
    quote_slots: int = 3  # conflation slots that a change of sizes alone waits: 3 as recorded, 1 is the harder load
    duplicate_sizes: bool = True  # a size message follows each price message, as IBKR sends it
    split_packets: float = 0.07  # share of conflation slots whose quotes follow the trades in a second packet
    day_ticks: bool = True  # high, low, open, close and last time (ticks 6, 7, 14, 9, 45), as IBKR sends them; not to clients in lock step
    pacing: int = 50  # requests per second that a client may send; 0 = any number
    lines: int = 100  # market data lines of the account: L1, tick-by-tick and real-time bars; 0 = any number
    tick_by_tick: int = 3  # tick-by-tick subscriptions of the account, 3 per 100 lines; 0 = any number
    tick_by_tick_s: float = 15.0  # market time between two tick-by-tick requests of one instrument and kind; 0 = any
    depth: int = 3  # market depth subscriptions of the account; 0 = any number
    historical_per_10min: int = 60  # historical requests; a request for bid and ask counts twice; 0 = any number
    historical_per_2s: int = 5  # of one contract and kind of data: IBKR refuses the sixth; 0 = any number
    historical_identical_s: float = 15.0  # market time between two identical historical requests; 0 = any
    historical_open: int = 50  # historical requests that stay open (keepUpToDate); 0 = any number
    master_client_id: int = -1  # is told of everybody's orders and executions, as the setting of TWS; it cancels no more than others. -1 = none
    settle_ms: float = 100.0  # the market opens when no request has come for this long after the first subscription
    cash: float = 1_000_000.0  # currency, of the simulated account
    once: bool = field(default=True, metadata={"digest": False})  # end when its client has disconnected; with faults when its starter says so
    sent_log: str = field(default="", metadata={"digest": False})  # file for the time of every write to the first client; "" = none
    faults: list[FaultConf] = field(default_factory=list)  # what goes wrong, and when
    fault_seed: int = 1  # of everything that the faults draw


@dataclass
class GatewayConf(SimulatorConf):
    """Where orders go and ticks come from. The default is the embedded simulated gateway."""

    kind: str = "simulator"  # simulator | ib
    host: str = field(default="127.0.0.1", metadata={"digest": False})
    port: int = field(default=0, metadata={"digest": False})  # simulator: 0 = any free port
    client_id: int = field(default=1, metadata={"digest": False})  # unique per connection
    account_kind: str = field(default="paper", metadata={"digest": False})  # paper | live: the login and the port must be of this kind
    account: str = field(default="", metadata={"digest": False})  # "" = the only one of a paper login; the simulator calls its own DU0000001
    confirm: str = field(default="", metadata={"digest": False})  # the word that a live account asks for; "" = it is typed
    paper_ports: list[int] = field(default_factory=lambda: [7497, 4002], metadata={"digest": False})  # of TWS and IB Gateway
    live_ports: list[int] = field(default_factory=lambda: [7496, 4001], metadata={"digest": False})
    skew_s: float = field(default=2.0, metadata={"digest": False})  # the pre-flight warns when the clocks differ by more, seconds
    disk_gb: float = field(default=5.0, metadata={"digest": False})  # the pre-flight warns when less is free, GB
    timeout_s: float = field(default=10.0, metadata={"digest": False})  # of connecting and of each request
    market_data_type: int = 1  # 1 live, 2 frozen, 3 delayed where live is not subscribed, 4 delayed and frozen
    generic_ticks: str = ""  # more tick types of L1, with commas between: 233 = RTVolume
    tick_by_tick_symbols: list[str] = field(default_factory=list)  # these get tick-by-tick Last and BidAsk, the first first, L1 if the budget is used up
    depth_symbols: list[str] = field(default_factory=list)  # market depth too
    depth_rows: int = 5  # levels on each side
    bar_symbols: list[str] = field(default_factory=list)  # 5-second bars too
    calendar: str = ""  # exchange whose hours count, ISO code such as XNYS: silence out of hours is no fault; "" = always open
    silent_s: float = 5.0  # data are stale when silent for so long,
    silent_gaps: float = 5.0  # and for so many times their own expected gap
    retry_max_s: float = 60.0  # longest wait before silent data are asked for again
    displaced_retry_s: float = 60.0  # wait before data that another session has taken are asked for again
    data_requests: int = 20  # requests for data per second; IBKR allows 50 of all kinds, the rest is for orders
    ping_after_s: float = 5.0  # a silent socket is asked something,
    ping_timeout_s: float = 5.0  # and is dead when no answer comes for so long
    reconnect_min_s: float = 1.0  # wait before the first new attempt, twice as long before each next one
    reconnect_max_s: float = 10.0  # longest wait between attempts
    reconnect_give_up_s: float = 0.0  # end the run when there was no connection for so long; 0 = never
