'use strict';
// Looks answers up that `explain` has given, and brings what a cell means near to it. It decides nothing.
(function () {
  const PROTOCOLS = { tcp: 6, udp: 17, icmp: 1, gre: 47, esp: 50, ah: 51 };

  function Wrong(message) { this.message = message; }

  // An IPv4 address as a number, or null.
  function number(text) {
    const parts = text.split('.');
    if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256)) {
      return null;
    }
    return parts.reduce((all, part) => all * 256 + Number(part), 0);
  }

  function asker(data) {
    const named = new Map();
    const special = new Map();
    const add = (word, address, what) => named.set(word, { address, what });
    // Names of the declaration go before words of ours.
    add('internet', data.internet, 'a host on the internet');
    add('lan', data.lan, 'a host on the LAN of this Mac');
    add('localhost', '127.0.0.1', "this Mac's loopback");
    const own = { address: data.own[1], own: true, what: 'this Mac itself' };
    named.set('mac', own);
    special.set(number('127.0.0.1'), data.loopback);
    const networks = [];
    for (const [name, first, last, stranger, address, gateway, gatewayClass] of data.providers) {
      if (address !== null) { named.set(name, { address, provider: true, what: 'a host in ' + name + ' that is not a volume, on its bridge' }); }
      add(name + '.gateway', gateway, "this Mac's address on the bridge of " + name);
      special.set(number(gateway), gatewayClass);
      networks.push([number(first), number(last), stranger]);
    }
    for (const [name, provider, address, kind, alias, aliasKind] of data.volumes) {
      const what = 'volume of ' + provider;
      add(name, address, what);
      add(name + '.' + provider, address, what);
      special.set(number(address), kind);
      if (alias !== null) {
        add(name + '.localhost', alias, 'localhost alias of ' + name);
        special.set(number(alias), aliasKind);
      }
    }
    special.set(number(data.own[1]), data.own[0]);
    const rows = new Map();

    function row(kind) {
      const index = data.rowOf[kind];
      if (!rows.has(index)) {
        const cells = [];
        for (const run of data.rows[index].split(',')) {
          const [cell, times] = run.split('*');
          for (let count = Number(times || 1); count > 0; count -= 1) { cells.push(Number(cell)); }
        }
        rows.set(index, cells);
      }
      return rows.get(index);
    }

    function end(word) {
      const name = word.toLowerCase();
      if (number(name) === null) {
        const found = named.get(name.endsWith('.nixvol') ? name.slice(0, -7) : name);
        if (!found) { throw new Wrong('no volume, provider or address is called `' + word + '`'); }
        if (found.own) { return { name: word, kind: data.mac, address: found.address, what: found.what }; }
        return Object.assign(byAddress(found.address), { name: word, what: found.what, provider: found.provider });
      }
      return Object.assign(byAddress(name), { name: word, what: '' });
    }

    function byAddress(address) {
      const value = number(address);
      if (special.has(value)) { return { address, kind: special.get(value) }; }
      const first = Math.floor(value / 16777216);
      if (first === 127) { return { address, kind: data.loopback }; }
      const network = networks.find(([low, high]) => low <= value && value <= high);
      if (network && network[2] !== null) { return { address, kind: network[2] }; }
      if (value === 0 || first >= 224) { throw new Wrong('`' + address + '` is not the address of a single host'); }
      return { address, kind: data.outside };
    }

    function service(protocol, port) {
      const word = protocol.toLowerCase();
      let kind = word === '' ? (port === null ? 1 : 6) : PROTOCOLS[word];
      if (kind === undefined && /^[0-9]{1,3}$/.test(word) && Number(word) < 256) { kind = Number(word); }
      if (kind === undefined) { throw new Wrong('unknown protocol `' + protocol + '`'); }
      const ported = kind === 6 || kind === 17;
      if (ported && port === null) { throw new Wrong('it needs a port'); }
      if (!ported && port !== null) { throw new Wrong('this protocol has no ports'); }
      return kind;
    }

    // What happens to a packet: the fields of `explain --format json` that do not depend on source ports.
    return function ask(from, to, portWord, protocolWord) {
      let destination = to;
      let portText = portWord;
      const colon = to.lastIndexOf(':');
      if (colon >= 0 && portWord === '') { destination = to.slice(0, colon); portText = to.slice(colon + 1); }
      let port = null;
      if (portText !== '' || (colon >= 0 && portWord === '')) {
        if (!/^\+?[0-9]+$/.test(portText) || Number(portText) < 1 || Number(portText) > 65535) { throw new Wrong('`' + portText + '` is not a port'); }
        port = Number(portText);
      }
      const protocol = service(protocolWord, port);
      const source = end(from);
      const target = end(destination);
      const bridge = data.bridges[target.kind];
      // A provider's name as a destination is another machine of it.
      const isOne = source.kind === target.kind && source.address === target.address && !target.provider;
      const group = [6, 17, 1].includes(protocol) ? protocol : [50, 51].includes(protocol) ? 50 : 132;
      const spans = data.cells[isOne ? data.selves[source.kind] : row(source.kind)[target.kind]];
      const span = spans.find((it) => it[0] === group && (port === null || (it[1] <= port && port <= it[2])));
      const [passes, wrong, verdict, refused, packet, answer, added] = data.stories[span[3]];
      if (wrong) { throw new Wrong(data.words[verdict]); }
      const places = (text) => text.replace('{from}', data.bridges[source.kind]).replace('{to}', bridge);
      const words = (index) => (index === null ? null : data.words[index]);
      const values = (all) => all.map((index) => ({ path: data.said[index][0], says: data.said[index][1], place: data.said[index][2] }));
      const scene = (index) => {
        const [direction, over, through, answered, byState, line, translation, becomes, because, declared, near, pipes] = data.scenes[index];
        return {
          direction, interface: places(over), passes: through, answered, byState, line, translation,
          becomes: words(becomes), because: words(because), declared: values(declared), near: values(near),
          pipes: (pipes || []).map(([pipe, rule, said]) => ({ number: pipe, line: rule, declared: said === null ? null : values([said])[0] }))
        };
      };
      return {
        source, destination: target, protocol, port, passes, verdict: places(words(verdict)), refused: words(refused),
        packet: packet.map(scene), answer: answer.map(scene), added: added || null
      };
    };
  }

  function element(name, text, parts) {
    const made = document.createElement(name);
    if (text) { made.textContent = text; }
    for (const part of parts || []) { made.append(part); }
    return made;
  }

  function ruleLink(line) {
    const link = element('a', 'pf/anchor.conf:' + line);
    link.href = '#L' + line;
    return link;
  }

  function said(it, before) {
    return element('div', '', [before, element('code', it.path), ' ' + it.says + (it.place ? ' (' + it.place + ')' : '')]);
  }

  function scene(it) {
    const how = it.passes ? (it.byState ? 'passes by state' : 'passes') : 'BLOCKED, ' + (it.answered || 'silently');
    const item = element('li', it.direction + ' ' + it.interface + ': ' + how);
    if (it.becomes) { item.append(', ' + it.becomes); }
    for (const pipe of it.pipes) {
      const like = pipe.declared ? ': ' + pipe.declared.says : '';
      const place = pipe.declared && pipe.declared.place ? ' (' + pipe.declared.place + ')' : '';
      const by = [' by ', element('code', pipe.declared ? pipe.declared.path : ''), place + ', rule ', ruleLink(pipe.line)];
      item.append(element('div', 'through pipe ' + pipe.number + like, pipe.declared && pipe.line !== null ? by : []));
    }
    const lines = [it.translation, it.line].filter((line) => line !== null);
    for (const line of lines) {
      const text = document.querySelector('#L' + line + ' code');
      item.append(element('div', '', ['rule ', ruleLink(line), ' ', element('code', text ? text.textContent : '')]));
    }
    if (it.because) { item.append(element('div', 'because ' + it.because)); }
    for (const value of it.declared) { item.append(said(value, '')); }
    for (const value of it.near) { item.append(said(value, 'but ')); }
    return item;
  }

  function show(answer) {
    const ends = answer.source.name + ' (' + answer.source.address + ') to ' + answer.destination.name + ' (' + answer.destination.address + ')';
    const parts = [element('h3', ends + ': ' + answer.verdict)];
    if (answer.refused) { parts.push(element('p', 'macOS: ' + answer.refused)); }
    for (const [title, scenes] of [['The packet', answer.packet], ['Its answer', answer.answer]]) {
      if (scenes.length) { parts.push(element('p', title), element('ol', '', scenes.map(scene))); }
    }
    if (answer.added) {
      const [there, back] = answer.added;
      parts.push(element('p', 'added to a round trip: ' + (there + back) + ' ms (' + there + ' ms there, ' + back + ' ms back)'));
    }
    return parts;
  }

  function form(ask) {
    const asked = document.getElementById('asker');
    const shown = document.getElementById('answer');
    const fields = ['from', 'to', 'port', 'protocol'];
    const value = (name) => asked.elements[name].value.trim();
    function answer() {
      try {
        shown.replaceChildren(...show(ask(...fields.map(value))));
      } catch (error) {
        if (!(error instanceof Wrong)) { throw error; }
        shown.replaceChildren(element('p', 'error: ' + error.message));
      }
    }
    asked.hidden = false;
    asked.addEventListener('submit', function (event) {
      event.preventDefault();
      const query = new URLSearchParams(fields.map((name) => [name, value(name)]));
      history.replaceState(null, '', '#ask?' + query);
      answer();
    });
    // A link to an answer: #ask?from=etcd-1&to=etcd-2&port=2379
    if (location.hash.startsWith('#ask?')) {
      const query = new URLSearchParams(location.hash.slice(5));
      for (const name of fields) { asked.elements[name].value = query.get(name) || ''; }
      document.getElementById('ask').scrollIntoView();
      answer();
    }
  }

  function matrices() {
    const near = document.getElementById('near');
    let shown = null;
    function bring(link) {
      if (shown === link) { return; }
      shown = link;
      const cell = link.parentElement;
      const from = cell.parentElement.cells[0];
      const to = link.closest('table').tHead.rows[0].cells[cell.cellIndex];
      const name = (header) => (header.querySelector('summary, span') || header).textContent;
      const meaning = document.querySelector(link.getAttribute('href'));
      const copy = meaning.cloneNode(true);
      copy.querySelector('.pair').textContent = name(from) + ' to ' + name(to);
      for (const code of copy.querySelectorAll('.example')) {
        const port = code.dataset.port;
        const ends = port ? from.dataset.address + ':49152 -> ' + to.dataset.address + ':' + port : from.dataset.address + ' -> ' + to.dataset.address;
        code.textContent = code.dataset.protocol + ' ' + ends;
      }
      near.replaceChildren(...copy.childNodes);
      near.hidden = false;
    }
    function hide() { near.hidden = true; shown = null; }
    for (const table of document.querySelectorAll('.matrix')) {
      const links = table.querySelectorAll('td a');
      links.forEach((link, index) => { link.tabIndex = index === 0 ? 0 : -1; });
      table.addEventListener('focusin', (event) => { if (event.target.matches('td a')) { bring(event.target); } });
      table.addEventListener('pointerover', (event) => { const link = event.target.closest('td a'); if (link) { bring(link); } });
      table.addEventListener('pointerleave', () => { if (!table.contains(document.activeElement)) { hide(); } });
      table.addEventListener('focusout', (event) => { if (!table.contains(event.relatedTarget)) { hide(); } });
      table.addEventListener('click', (event) => {
        const link = event.target.closest('td a');
        // The first tap brings the meaning near; where a pointer hovers, the click goes there.
        if (link && window.matchMedia('(hover: none)').matches) { event.preventDefault(); bring(link); link.focus(); }
      });
      table.addEventListener('keydown', function (event) {
        const link = event.target.closest('td a');
        if (!link) { return; }
        if (event.key === 'Escape') { hide(); return; }
        const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
        const step = steps[event.key];
        if (!step) { return; }
        const cell = link.parentElement;
        const line = table.rows[cell.parentElement.rowIndex + step[0]];
        const next = line && line.cells[cell.cellIndex + step[1]];
        const target = next && next.querySelector('td a');
        if (target) { link.tabIndex = -1; target.tabIndex = 0; target.focus(); }
        event.preventDefault();
      });
    }
    document.addEventListener('keydown', (event) => { if (event.key === 'Escape') { hide(); } });
  }

  window.nixvolAsker = asker;
  const data = document.getElementById('data');
  if (data) {
    form(asker(JSON.parse(data.textContent)));
    matrices();
    window.addEventListener('beforeprint', () => document.querySelectorAll('details').forEach((it) => { it.open = true; }));
  }
}());
