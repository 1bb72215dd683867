'use strict';
// Answers questions as `nixvol-net explain` does: what becomes of a flow was computed for every pair of ends beforehand; here
// it is looked up, and told with the links, the places and the rules that it comes from. No document is needed for that.
function nixvolAsker(data) {
  const PROTOCOLS = { tcp: 6, udp: 17, icmp: 1, gre: 47, esp: 50, ah: 51 };
  const NAMES = { 6: 'tcp', 17: 'udp', 1: 'icmp', 47: 'gre', 50: 'esp', 51: 'ah' };
  const OTHER = 132;
  const first = data.providers.length;
  const words = { internet: true, lan: true, localhost: true, mac: true };

  function Wrong(message) { this.message = message; }

  // An IPv4 address as a number, or null.
  function number(text) {
    const parts = text.split('.');
    if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256)) {
      return null;
    }
    return parts.reduce((all, part) => all * 256 + Number(part), 0);
  }

  // --- Sets of ends ---

  function set(text) {
    return text === '' ? [] : text.split(',').map((run) => {
      const [low, high] = run.split('-').map(Number);
      return [low, high === undefined ? low : high];
    });
  }

  function has(ranges, end) { return ranges.some(([low, high]) => low <= end && end <= high); }

  const links = data.links.map(([index, from, to, protocol, ports, both, masquerades, conditions, says]) => (
    { index, from: set(from), to: set(to), protocol, ports, both, masquerades, conditions, says, path: 'links.' + index }));
  const linkOf = new Map(links.map((link) => [link.index, link]));
  const flows = data.flows.map(([from, to, protocol, ports, line]) => ({ from: set(from), to: set(to), protocol, ports, line }));

  // Whether ends have one end, by itself or by its provider.
  function holds(ranges, end) {
    return end.provider !== null && (has(ranges, end.provider) || (end.volume !== null && has(ranges, first + end.volume)));
  }

  function serves(it, protocol, port) {
    const ported = protocol === 6 || protocol === 17;
    if (it.ports !== null && !(ported && it.ports.some(([low, high]) => low <= port && port <= high))) { return false; }
    return it.protocol === null || it.protocol === protocol;
  }

  // --- Ends ---

  const named = new Map();
  const special = new Map();
  const volumes = data.volumes.map(([name, provider, address, kind, guest, alias, aliasKind], volume) => (
    { name, provider, address, kind, guest, alias, aliasKind, volume }));
  const providers = data.providers.map(([name, mark, colour, kind, address, second, gateway, gatewayKind, network, bridge, internet, region], provider) => (
    { name, mark, colour, kind, address, second, gateway, gatewayKind, network, bridge, internet, region, provider }));

  const nowhere = { provider: null, volume: null };
  const outside = (address, what) => Object.assign({}, nowhere, { address, kind: data.outside, at: 'outside', what });
  const own = Object.assign({}, nowhere, { address: data.own[1], kind: data.own[0], at: 'mac', what: 'this Mac itself' });
  const loopback = (address) => Object.assign({}, nowhere, { address, kind: data.loopback, at: 'loopback', what: "this Mac's loopback" });
  named.set('internet', outside(data.internet, 'a host on the internet'));
  named.set('lan', outside(data.lan, 'a host on the LAN of this Mac'));
  named.set('localhost', loopback('127.0.0.1'));
  named.set('mac', own);
  for (const it of providers) {
    const what = 'a host in ' + it.name + ' that is not a volume, on its bridge';
    if (it.address !== null) { named.set(it.name, Object.assign({}, nowhere, { address: it.address, kind: it.kind, at: 'bridge', provider: it.provider, whole: true, what })); }
    const gateway = Object.assign({}, nowhere, { address: it.gateway, kind: it.gatewayKind, at: 'gateway', provider: it.provider, what: "this Mac's address on " + it.bridge });
    named.set(it.name + '.gateway', gateway);
    special.set(number(it.gateway), gateway);
  }
  for (const it of volumes) {
    const of = providers[it.provider];
    const end = { address: it.address, kind: it.kind, at: it.guest ? 'bridge' : 'host', provider: it.provider, volume: it.volume, what: 'volume of ' + of.name + (it.guest ? ', a VM' : ', served by this Mac') };
    named.set(it.name, end);
    named.set(it.name + '.' + of.name, end);
    special.set(number(it.address), end);
    if (it.alias !== null) {
      const alias = Object.assign({}, nowhere, { address: it.alias, kind: it.aliasKind, at: 'loopback', alias: it.volume, what: 'localhost alias of ' + it.name });
      named.set(it.name + '.localhost', alias);
      special.set(number(it.alias), alias);
    }
  }

  function byAddress(address) {
    const value = number(address);
    if (special.has(value)) { return special.get(value); }
    const top = Math.floor(value / 16777216);
    if (top === 127) { return loopback(address); }
    for (const it of providers) {
      // The longest that holds it decides, and longer ones stand behind.
      let inside = false;
      for (const [low, high, out] of it.region) { if (low <= value && value <= high) { inside = !out; } }
      if (inside) {
        return Object.assign({}, nowhere, { address, kind: it.kind, at: 'bridge', provider: it.provider, what: 'a host in ' + it.name + ' that is not a volume, on its bridge' });
      }
    }
    if (value === 0 || top >= 224) { throw new Wrong('`' + address + '` is not the address of a single host'); }
    if (address === data.own[1]) { return own; }
    return outside(address, 'outside the declared networks');
  }

  function end(word) {
    const name = word.toLowerCase();
    if (number(name) !== null) { return Object.assign({}, byAddress(name), { name: word, literal: true }); }
    const found = named.get(name.endsWith('.nixvol') ? name.slice(0, -7) : name);
    if (!found) { throw new Wrong('no volume, provider or address is called `' + word + '`'); }
    return Object.assign({}, found, { name: word, literal: false });
  }

  // --- The way ---

  function way(source, target) {
    const here = (it) => it.at !== 'bridge' && it.at !== 'outside';
    const over = (it) => providers[it.provider].bridge;
    const steps = (...all) => ({ steps: all, refused: null });
    const never = (why) => ({ steps: [], refused: why });
    const [from, to] = [source.at, target.at];
    if (from === 'outside' && to === 'outside') { throw new Wrong('neither `' + source.name + '` nor `' + target.name + '` is in this network'); }
    if (!here(source) && to === 'loopback') { return never("an address of 127.0.0.0/8 is this Mac's own: macOS drops it on any interface but lo0, before pf"); }
    if (here(source) && to === 'loopback') { return steps(['out', 'lo0'], ['in', 'lo0']); }
    if (from === 'loopback' && !here(target)) { return never('a source in 127.0.0.0/8 never leaves lo0: macOS refuses it (EADDRNOTAVAIL)'); }
    if (from === 'gateway' && to === 'outside') { return never("a socket bound to a bridge's address has no route outside on macOS (EHOSTUNREACH)"); }
    if (here(source) && here(target)) { return steps(['out', 'lo0'], ['in', 'lo0']); }
    if (here(source)) { return to === 'bridge' ? steps(['out', over(target)]) : steps(['out', data.egress]); }
    const into = ['in', from === 'bridge' ? over(source) : data.egress];
    if (here(target)) { return steps(into); }
    return steps(into, ['out', to === 'bridge' ? over(target) : data.egress]);
  }

  // How the sender of what is blocked learns of it.
  function answered(fate, protocol, direction) {
    if (fate === 'dropped' || protocol === 50 || protocol === 51) { return 'silently'; }
    if (protocol === 1) { return 'silently (pf sends no ICMP error for ICMP)'; }
    return protocol === 6 && direction === 'in' ? 'answered with a RST' : 'answered with an ICMP unreachable';
  }

  // --- Answers ---

  const unpacked = new Map();
  function cell(from, to) {
    const row = data.rowOf[from];
    if (!unpacked.has(row)) {
      const cells = [];
      for (const run of data.rows[row].split(',')) {
        const [number, times] = run.split('*').map(Number);
        for (let count = times || 1; count > 0; count -= 1) { cells.push(number); }
      }
      unpacked.set(row, cells);
    }
    return data.cells[unpacked.get(row)[to]];
  }

  // The pipes there and back.
  function pipesBetween(source, target) { return [cell(source.kind, target.kind)[1], cell(target.kind, source.kind)[1]]; }

  function spans(cell) {
    const all = [];
    for (let at = 0; at < cell[0].length; at += 4) { all.push(cell[0].slice(at, at + 4)); }
    return all;
  }

  function said(path, says) { return { path, says, place: data.places[path] || null }; }

  function joining(source, target) {
    return links.filter((link) => (holds(link.from, source) && holds(link.to, target))
      || (link.both && holds(link.to, source) && holds(link.from, target)));
  }

  // Links that have these ends and not this service, those of its own direction before others.
  function near(source, target, protocol) {
    const found = [];
    for (const link of links) {
      const back = holds(link.from, target) && holds(link.to, source);
      const forth = (holds(link.from, source) && holds(link.to, target)) || (back && link.both);
      if (!forth && !back) { continue; }
      const why = !forth ? 'permits the other direction only' : link.protocol !== null && link.protocol !== protocol ? 'has another protocol' : 'has other ports';
      found.push([forth ? 0 : 1, link.index, said(link.path, why + ': ' + link.says)]);
    }
    found.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    return found.slice(0, 3).map((it) => it[2]);
  }

  function rules(source, target, protocol, port, reason, kind) {
    const label = (name) => (data.lines.labels[name] === undefined ? [] : [data.lines.labels[name]]);
    const of = kind === 'nat' && data.lines.nat !== null ? [data.lines.nat] : [];
    const covering = () => flows.filter((flow) => holds(flow.from, source) && holds(flow.to, target) && serves(flow, protocol, port));
    const published = () => data.publishes.filter(([alias, it]) => alias === target.address && it === port).map((it) => it[3]);
    const found = {
      within: () => label('within:' + providers[source.provider].name),
      links: () => covering().map((flow) => flow.line),
      noLink: () => label('between'),
      internet: () => label('internet'),
      noInternet: () => label('no-internet'),
      localhost: () => (kind === 'published' ? published() : label(target.at === 'loopback' ? 'localhost:to' : 'localhost:from')),
      thisMac: () => label('this-mac'),
      outside: () => label('outside'),
      notOurs: () => []
    };
    return of.concat(found[reason]()).filter((line) => line !== null);
  }

  const BECAUSE = {
    within: (source) => 'inside ' + providers[source.provider].name + ' everything passes',
    links: (source, target, declared) => (declared.length === 1 ? 'a link covers it' : 'links cover it'),
    noLink: () => 'no link covers it, and between providers nothing else passes',
    internet: (source) => providers[source.provider].name + ' may open connections to the outside',
    noInternet: (source) => providers[source.provider].name + ' may not open connections to the outside',
    localhost: (source, target, declared) => (declared.length ? 'the port is published on this localhost alias' : 'between volumes and 127.0.0.0/8 everything passes'),
    thisMac: () => 'this Mac may open connections to every volume',
    outside: () => 'nothing outside may open connections to a volume',
    notOurs: () => 'no volume is involved: no rule of the anchor matches it'
  };

  function declared(source, target, protocol, port, reason, kind) {
    const field = (provider, name, says) => [said('providers.' + providers[provider].name + '.' + name, says)];
    switch (reason) {
      case 'within': return field(source.provider, 'network', providers[source.provider].network);
      case 'internet': case 'noInternet': return field(source.provider, 'internet', String(providers[source.provider].internet));
      case 'links': return joining(source, target).filter((link) => serves(link, protocol, port)).map((link) => said(link.path, link.says));
      case 'localhost': {
        const published = kind === 'published' ? data.publishes.find(([alias, it]) => alias === target.address && it === port) : undefined;
        if (!published) { return []; }
        const volume = volumes[published[2]];
        return [said('volumes.' + volume.name + '.publish', published[0] + ':' + published[1] + ' is ' + volume.address + ':' + published[1])];
      }
      default: return [];
    }
  }

  const steering = data.steering.map(([from, to, pipe, out, into]) => ({ from: set(from), to: set(to), pipe, out, into }));

  // The pipe of this number, and the rule that sends packets there: of those that have these ends the first.
  function pipe(number, source, target, isOut) {
    const found = data.pipes.find((it) => it[0] === number);
    if (!found) { return null; }
    const [, link, says, delay] = found;
    const rule = steering.find((it) => it.pipe === number && holds(it.from, source) && holds(it.to, target));
    const line = rule ? (isOut ? rule.out : rule.into) : null;
    return { number, delay, line, declared: said('links.' + link + '.conditions', says) };
  }

  // What becomes of one service between two ends.
  function judged(source, target, protocol, port, outcome, pipes) {
    const [fate, reason, becomes, kind] = data.outcomes[outcome];
    const { steps, refused } = way(source, target);
    const isBlocked = refused === null && (fate === 'refused' || fate === 'dropped');
    // What this Mac opens by an address of its own makes no state on a bridge, so that its answer is judged alone.
    const isUnanswered = !isBlocked && source.at === 'mac' && source.provider === null && target.at === 'bridge' && !providers[target.provider].internet;
    const passes = refused === null && !isBlocked && !isUnanswered;
    // What this Mac sends to itself is let out on lo0, and refused as it comes in.
    const blockedAt = isBlocked ? (fate === 'refused' && steps[0][0] === 'out' && steps[0][1] === 'lo0' ? 1 : 0) : null;
    const seen = isBlocked ? steps.slice(0, blockedAt + 1) : steps;
    const how = isBlocked ? answered(fate, protocol, seen[blockedAt][0]) : null;
    const leaves = seen.some((step) => step[0] === 'out' && step[1] === data.egress);
    const origin = refused === null ? declared(source, target, protocol, port, reason, kind) : [];
    // A packet goes through its pipe as it leaves, or as it comes in where this Mac has its destination.
    const leaving = (direction) => steps.some((step) => step[0] === direction);
    const [there, back] = passes && steps.length ? [pipe(pipes[0], source, target, leaving('out')), pipe(pipes[1], target, source, leaving('in'))] : [null, null];
    const added = there || back ? [there ? there.delay : 0, back ? back.delay : 0] : null;
    return {
      passes, refused, reason, fate,
      verdict: passes ? 'passes' : refused !== null ? 'never sent' : isUnanswered ? 'passes, but no answer does' : fate === 'dropped' ? 'dropped' : 'refused',
      because: refused !== null ? refused : isUnanswered ? BECAUSE.noInternet(target) : BECAUSE[reason](source, target, origin),
      becomes: passes && becomes !== null && (kind !== 'nat' || leaves) ? becomes : null,
      declared: origin,
      near: refused === null && reason === 'noLink' ? near(source, target, protocol) : [],
      hops: seen.map(([direction, over], at) => ({ direction, interface: over, passes: at !== blockedAt })),
      answered: how, there, back, added,
      lines: refused === null ? rules(source, target, protocol, port, reason, kind) : []
    };
  }

  // Services in words: `tcp 2379-2380, icmp`.
  function services(all) {
    const by = new Map();
    for (const [protocol, low, high] of all) {
      const name = protocol === OTHER ? 'other protocols' : NAMES[protocol] || 'protocol ' + protocol;
      const range = protocol !== 6 && protocol !== 17 ? '' : low === 1 && high === 65535 ? '' : low === high ? String(low) : low + '-' + high;
      if (!by.has(name)) { by.set(name, []); }
      const ranges = by.get(name);
      const last = ranges[ranges.length - 1];
      if (last && last[1] + 1 === low && range !== '') { last[1] = high; } else { ranges.push([low, high, range === '']); }
    }
    const word = ([low, high, all]) => (all ? '' : low === high ? String(low) : low + '-' + high);
    return Array.from(by, ([name, ranges]) => [name, ranges.map(word).join(',')].filter((it) => it !== '').join(' ')).join(', ');
  }

  // Every service between two ends: what passes first, and then the rest.
  function parts(source, target, protocols) {
    const found = cell(source.kind, target.kind);
    const pipes = pipesBetween(source, target);
    const joined = joining(source, target);
    const cuts = new Set();
    for (const link of joined) { for (const [low, high] of link.ports || []) { cuts.add(low); cuts.add(high + 1); } }
    const groups = new Map();
    const all = spans(found).filter((span) => protocols === null || protocols.includes(span[0]));
    for (const [protocol, low, high, outcome] of all) {
      const reason = data.outcomes[outcome][1];
      const starts = [low, ...(reason === 'links' ? Array.from(cuts).filter((cut) => low < cut && cut <= high).sort((a, b) => a - b) : [])];
      starts.forEach((start, at) => {
        const stop = at + 1 < starts.length ? starts[at + 1] - 1 : high;
        const by = reason === 'links' ? joined.filter((link) => serves(link, protocol, start)).map((link) => link.index).join() : '';
        const key = outcome + ':' + by;
        if (!groups.has(key)) { groups.set(key, { spans: [], outcome }); }
        groups.get(key).spans.push([protocol, start, stop]);
      });
    }
    const parts = Array.from(groups.values(), ({ spans: of, outcome }) => {
      const part = judged(source, target, of[0][0], of[0][1], outcome, pipes);
      // How each protocol learns that it is blocked.
      const by = new Map();
      for (const [protocol] of part.answered === null ? [] : of) {
        const how = answered(part.fate, protocol, part.hops[part.hops.length - 1].direction);
        by.set(how, (by.get(how) || new Set()).add(NAMES[protocol] || 'other protocols'));
      }
      part.answers = Array.from(by, ([how, names]) => (by.size === 1 ? how : Array.from(names).join(', ') + ' ' + how));
      return Object.assign(part, { spans: of, services: services(of) });
    });
    parts.sort((a, b) => Number(b.passes) - Number(a.passes));
    if (parts.length === 1 && protocols === null) { parts[0].services = 'everything'; }
    if (parts.length > 1 && parts.filter((part) => !part.passes).length === 1) { parts[parts.length - 1].services = 'everything else'; }
    return parts;
  }

  function protocolOf(text, port) {
    const word = text.toLowerCase();
    let kind = word === '' ? (port === null ? null : 6) : PROTOCOLS[word];
    if (kind === undefined && /^[0-9]{1,3}$/.test(word) && Number(word) < 256) { kind = Number(word); }
    if (kind === undefined) { throw new Wrong('unknown protocol `' + text + '`: tcp, udp, icmp, gre, esp, ah or a number'); }
    if (port !== null && kind !== 6 && kind !== 17) { throw new Wrong('this protocol has no ports'); }
    return kind;
  }

  // Resolves both ends, as a process of this Mac that binds no address would find them.
  function both(from, to) {
    if (from.includes(':')) { throw new Wrong('the port belongs behind the destination'); }
    const [source, target] = [end(from), end(to)];
    if (source.address === target.address && target.at === 'bridge') {
      // A provider's name asks about any two of its machines; one machine talks to itself without this Mac.
      const other = target.whole && !target.literal ? providers[target.provider].second : null;
      if (other === null) { throw new Wrong('`' + source.name + '` and `' + target.name + '` are the same host'); }
      target.address = other;
    }
    if (source.at !== 'mac' || source.literal) { return { source, target, asked: source }; }
    const bound = ['loopback', 'host', 'gateway'].includes(target.at) ? target : target.at === 'bridge' ? named.get(providers[target.provider].name + '.gateway') : source;
    return { source: Object.assign({}, bound, { at: 'mac', name: source.name }), target, asked: source };
  }

  function ask(from, to, portWord, protocolWord) {
    const colon = to.lastIndexOf(':');
    const inside = colon >= 0 && portWord === '';
    const portText = inside ? to.slice(colon + 1) : portWord;
    let port = null;
    if (portText !== '' || inside) {
      if (!/^\+?[0-9]+$/.test(portText) || Number(portText) < 1 || Number(portText) > 65535) { throw new Wrong('`' + portText + '` is not a port'); }
      port = Number(portText);
    }
    const protocol = protocolOf(protocolWord, port);
    const { source, target } = both(from, inside ? to.slice(0, colon) : to);
    const of = { source, target, protocol, port };
    const isRange = protocol === null || (port === null && (protocol === 6 || protocol === 17));
    if (isRange) {
      way(source, target);
      return Object.assign(of, { parts: parts(source, target, protocol === null ? null : [protocol]) });
    }
    const group = [6, 17, 1].includes(protocol) ? protocol : OTHER;
    const found = cell(source.kind, target.kind);
    const span = spans(found).find((it) => it[0] === group && (port === null || (it[1] <= port && port <= it[2])));
    const part = judged(source, target, protocol, port === null ? 0 : port, span[3], pipesBetween(source, target));
    const services = (NAMES[protocol] || 'protocol ' + protocol) + (port === null ? '' : ' ' + port);
    return Object.assign(of, { parts: [Object.assign(part, { services, spans: [[protocol, port || 0, port || 0]], answers: part.answered === null ? [] : [part.answered] })] });
  }

  // How much passes: `all`, `some` or `none`.
  function share(from, to) {
    const passing = spans(cell(from, to)).map((span) => !['refused', 'dropped'].includes(data.outcomes[span[3]][0]));
    return passing.every((it) => it) ? 'all' : passing.some((it) => it) ? 'some' : 'none';
  }

  return { ask, parts, end, share, providers, volumes, links, linkOf, flows, has, holds, set, words, first, Wrong };
}
if (typeof window === 'object') { window.nixvolAsker = nixvolAsker; }
