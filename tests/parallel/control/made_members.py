"""A whole tree of members in one process, with a clock that only the test moves."""

import random

from exastorm.parallel.control.agreement import Member
from exastorm.parallel.control.messages import decode, encode
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.control.tree import Tree


class MadeTree:
    """Members and the packets between them; each channel keeps its order, else chance decides."""

    def __init__(self, num_ranks, radix=4, num_buckets=5, seed=0, **settings):
        self.now = 0.0
        self.random = random.Random(seed)
        self.settings = ControlSettings(radix=radix, **{"batch_s": 0.0, **settings})
        self.tree = Tree(num_ranks=num_ranks, radix=radix)
        self.lines = {}
        self.members = [
            Member(r, self.tree, num_buckets, self.settings, lambda: self.now, self.reporter(r))
            for r in range(num_ranks)
        ]
        self.channels = {}
        self.stopped = set()  # as by SIGSTOP: take in and say nothing
        self.messages_in = [0] * num_ranks
        self.messages_out = [0] * num_ranks
        self.packets = 0

    def reporter(self, rank):
        return lambda line: self.lines.setdefault(rank, []).append(line)

    def collect(self, rank):
        """Move what a member has to say into its channels, through the form it has on the wire."""
        for neighbor, packet in self.members[rank].take().items():
            self.messages_out[rank] += len(packet)
            self.channels.setdefault((rank, neighbor), []).append(decode(encode(packet)))

    def deliver_one(self):
        """Deliver the first packet of some channel; False if there is none."""
        full = [
            key for key, packets in self.channels.items() if packets and key[1] not in self.stopped
        ]
        if not full:
            return False
        sender, receiver = self.random.choice(full)
        packet = self.channels[sender, receiver].pop(0)
        self.packets += 1
        self.messages_in[receiver] += len(packet)
        self.members[receiver].receive(sender, packet)
        self.collect(receiver)
        return True

    def settle(self):
        """Deliver until nobody has anything more to say at this time."""
        for rank in range(len(self.members)):
            if rank not in self.stopped:
                self.collect(rank)
        while self.deliver_one():
            pass

    def run_until(self, end_s):
        """Let time pass; members tick when they want to."""
        self.settle()
        while True:
            times = [
                (member.next_tick(), rank)
                for rank, member in enumerate(self.members)
                if rank not in self.stopped and member.next_tick() is not None
            ]
            due, rank = min(times, default=(end_s, -1))
            if due >= end_s:
                break
            self.now = max(self.now, due)
            self.members[rank].tick()
            self.settle()
        self.now = end_s

    def on_all(self, action):
        """Call something with each member, in an order of chance."""
        ranks = [r for r in range(len(self.members)) if r not in self.stopped]
        self.random.shuffle(ranks)
        for rank in ranks:
            action(self.members[rank])
            self.collect(rank)

    def run_step(self, step, orders):
        """One step in which each rank submits in its own order, mixed with deliveries by chance."""
        todo = {rank: list(orders[rank]) for rank in range(len(self.members))}
        while todo:
            if self.random.random() < 0.5 and self.deliver_one():
                continue
            rank = self.random.choice(list(todo))
            member = self.members[rank]
            if todo[rank]:
                member.submit(step, todo[rank].pop(0))
            else:
                member.finish(step)
                del todo[rank]
            self.collect(rank)
        self.settle()

    def orders(self, step):
        """What each rank was told to reduce in a step."""
        return [tuple(member.readiness.released.get(step, ())) for member in self.members]
