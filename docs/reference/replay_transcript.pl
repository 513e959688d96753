#!/usr/bin/env perl
# Replays transcript.txt against a bus that was just started: sends what the parties sent, and
# compares every answer byte for byte. Speaks ZeroMQ's own protocol (ZMTP 3.0, mechanism NULL)
# itself: Perl alone is needed, no module from elsewhere and no ZeroMQ.
#
#     perl replay_transcript.pl ENDPOINT [TRANSCRIPT]
#
# ENDPOINT is tcp://127.0.0.1:PORT or ipc:///path/of/socket. Exit status: 0 if every answer was the
# same; 1 if one differs, with a message that says where; 2 for what was asked wrongly.
use strict;
use warnings;
use File::Basename qw(dirname);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;

my $SECONDS = 10;    # to wait for an answer
my ($MORE, $LONG, $COMMAND) = (1, 2, 4);    # flags of a frame

my ($endpoint, $transcript) = @ARGV;
usage("which endpoint?") unless defined $endpoint;
$transcript = dirname($0) . '/transcript.txt' unless defined $transcript;
$SIG{PIPE} = 'IGNORE';

my (%connection, $messages);
for my $step (read_transcript($transcript)) {
    my ($line, $name, $action, @frames) = @$step;
    if    ($action eq 'connects')    { $connection{$name} = zmtp_connect($endpoint) }
    elsif ($action eq 'disconnects') { close delete $connection{$name} }
    elsif ($action eq '->')          { zmtp_send(socket_of($name, $line), @frames) }
    else                             { expect($name, $line, @frames) }
    $messages++ if $action =~ /[<>]/;
}
print "$messages messages, all as in the transcript\n";
exit 0;

# The transcript: a list of [line number, name, action, frame ...].
sub read_transcript {
    my ($path) = @_;
    open my $file, '<:raw', $path or usage("$path: $!");
    my @steps;
    while (my $line = <$file>) {
        chomp $line;
        if    ($line =~ /^(#|\s*$)/)                      { next }
        elsif ($line =~ /^(\w+) (connects|disconnects)$/) { push @steps, [$., $1, $2] }
        elsif ($line =~ /^(\w+) (->|<-) bus$/)            { push @steps, [$., $1, $2] }
        elsif ($line =~ /^  text (.*)$/ && @steps)        { push @{ $steps[-1] }, $1 }
        elsif ($line =~ /^  hex ?([0-9a-f ]*)$/ && @steps) {
            (my $digits = $1) =~ tr/ //d;
            push @{ $steps[-1] }, pack 'H*', $digits;
        }
        else { usage("$path, line $.: not understood") }
    }
    return @steps;
}

sub expect {
    my ($name, $line, @expected) = @_;
    usage("$transcript, line $line: a message has two frames or more") if @expected < 2;
    my @got;
    do { @got = zmtp_receive(socket_of($name, $line), "$name, line $line") }
        while ($got[0] eq 'probe' && $expected[0] ne 'probe');
    different($name, $line, "@expected[0, 1]", "@got[0, 1]")
        if $got[0] ne $expected[0] || @got != @expected;
    for my $number (1 .. $#expected) {
        my $pattern = join '.*?', map { quotemeta } split /\{\{\w+\}\}/, $expected[$number], -1;
        different($name, $line + 1 + $number, $expected[$number], $got[$number])
            unless $got[$number] =~ /\A$pattern\z/s;
    }
}

sub socket_of {
    my ($name, $line) = @_;
    return $connection{$name} || usage("$transcript, line $line: $name is not connected");
}

sub different {
    my ($name, $line, $expected, $got) = map { s/([^ -~])/sprintf '\\x%02x', ord $1/ger } @_;
    fail("$transcript, line $line: $name got another answer\n  expected $expected\n  got      $got");
}

sub fail  { print STDERR "$_[0]\n"; exit 1 }
sub usage { print STDERR "$_[0]\nusage: perl $0 ENDPOINT [TRANSCRIPT]\n"; exit 2 }

# ZMTP: both sides send 64 bytes of greeting, then the command READY; from then on a message is
# frames of [flags, length, bytes], where all but the last have the flag MORE.
sub zmtp_connect {
    my ($where) = @_;
    my $socket;
    if    ($where =~ m{^tcp://(.+)$})   { $socket = IO::Socket::INET->new(PeerAddr => $1) }
    elsif ($where =~ m{^ipc://(/.+)$})  { $socket = IO::Socket::UNIX->new(Peer => $1) }
    else                                { usage("$where: tcp://HOST:PORT or ipc:///PATH") }
    fail("$where: $!") unless $socket;
    binmode $socket;
    write_all($socket, "\xff" . "\0" x 8 . "\x7f" . "\x03\x00" . pack('a20', 'NULL') . "\0" x 32);
    my $greeting = read_exactly($socket, 64, 'greeting');
    fail("$where: not ZMTP 3 with the mechanism NULL")
        unless $greeting =~ /\A\xff.{8}\x7f[\x03-\xff].NULL\0/s;
    my $ready = pack('C/a* C/a* N/a*', 'READY', 'Socket-Type', 'DEALER');
    write_all($socket, pack('CC/a*', $COMMAND, $ready));
    my ($flags, $command) = read_frame($socket, 'READY');
    fail("$where: the bus did not say READY") unless $flags & $COMMAND && $command =~ /^\x05READY/;
    return $socket;
}

sub zmtp_send {
    my ($socket, @frames) = @_;
    my $bytes = '';
    while (defined(my $frame = shift @frames)) {
        my $flags = @frames ? $MORE : 0;
        $bytes .= length $frame > 255
            ? pack('CQ>/a*', $flags | $LONG, $frame)
            : pack('CC/a*', $flags, $frame);
    }
    write_all($socket, $bytes);
}

sub zmtp_receive {
    my ($socket, $for) = @_;
    my @frames;
    while (1) {
        my ($flags, $bytes) = read_frame($socket, $for);
        next if $flags & $COMMAND;
        push @frames, $bytes;
        return @frames unless $flags & $MORE;
    }
}

sub read_frame {
    my ($socket, $for) = @_;
    my $flags = unpack 'C', read_exactly($socket, 1, $for);
    my $length = $flags & $LONG
        ? unpack('Q>', read_exactly($socket, 8, $for))
        : unpack('C', read_exactly($socket, 1, $for));
    return ($flags, read_exactly($socket, $length, $for));
}

sub read_exactly {
    my ($socket, $length, $for) = @_;
    my ($bytes, $deadline) = ('', time + $SECONDS);
    while (length $bytes < $length) {
        my $left = $deadline - time;
        fail("$for: no answer within $SECONDS s")
            unless $left > 0 && IO::Select->new($socket)->can_read($left);
        sysread($socket, $bytes, $length - length $bytes, length $bytes)
            or fail("$for: the bus closed the connection");
    }
    return $bytes;
}

sub write_all {
    my ($socket, $bytes) = @_;
    while (length $bytes) {
        my $written = syswrite $socket, $bytes;
        fail("sending: $!") unless defined $written;
        substr($bytes, 0, $written) = '';
    }
}
