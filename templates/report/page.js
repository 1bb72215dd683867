// The page in use: whatever is pointed at, focused or tapped lights up everywhere, and is explained beside the tables.
(function () {
  const holder = typeof document === 'object' ? document.getElementById('data') : null;
  if (!holder) { return; }
  const net = nixvolAsker(JSON.parse(holder.textContent));
  const panel = document.getElementById('panel');
  const told = document.getElementById('told');
  const close = document.getElementById('close');
  const providerBy = new Map(net.providers.map((it) => [it.name, it]));
  const volumeBy = new Map(net.volumes.map((it) => [it.name, it]));

  // --- Words ---

  function element(name, text, parts, className) {
    const made = document.createElement(name);
    if (text) { made.textContent = text; }
    if (className) { made.className = className; }
    made.append(...(parts || []));
    return made;
  }

  function mark(provider) {
    const made = element('span', provider.mark, [], 'mark c' + provider.colour);
    made.setAttribute('aria-hidden', 'true');
    return made;
  }

  // A name with the mark of its provider before it.
  function badge(name) {
    const volume = volumeBy.get(name);
    const provider = volume ? net.providers[volume.provider] : providerBy.get(name);
    const title = { mac: 'this Mac' }[name] || name;
    return element('span', '', provider ? [mark(provider), ' ' + title] : [title], 'badge');
  }

  function anchored(text, href) {
    const link = element('a', text);
    link.href = href;
    return link;
  }

  function ruleLinks(lines) {
    const shown = Array.from(new Set(lines)).slice(0, 4);
    return shown.map((line) => element('div', '', ['rule ', anchored('pf/anchor.conf:' + line, '#L' + line)], 'fine'));
  }

  function said(it, before) {
    const at = /^links\.[0-9]+/.exec(it.path);
    const path = at ? anchored(it.path, '#link-' + at[0].slice(6)) : element('code', it.path);
    return element('div', '', [before, path, ' ' + it.says + (it.place ? ' (' + it.place + ')' : '')], 'fine');
  }

  function piped(pipe, where) {
    return element('div', '', [where + ' through pipe ' + pipe.number + ': ' + pipe.declared.says + ', ', said(pipe.declared, 'by ')], 'fine');
  }

  // Parts at most in sight, so that nobody is told a thousand ports.
  function few(text, most) { return text.length > most ? text.slice(0, most - 1) + '…' : text; }

  function part(it, isLong) {
    const line = [element('strong', it.verdict, [], it.passes ? 'passes' : 'blocked'), ' ', element('span', few(it.services, 400))];
    const item = element('li', '', [element('div', '', line)], it.passes ? 'passes' : 'blocked');
    if (it.answers.length) { item.append(element('div', it.answers.join('; '), [], 'fine')); }
    item.append(element('div', it.because, [], 'fine'));
    if (it.becomes) { item.append(element('div', 'its address changes: ' + it.becomes, [], 'fine')); }
    it.declared.slice(0, 5).forEach((value) => item.append(said(value, '')));
    if (it.declared.length > 5) { item.append(element('div', 'and ' + (it.declared.length - 5) + ' more', [], 'fine')); }
    if (it.there) { item.append(piped(it.there, 'there')); }
    if (it.back) { item.append(piped(it.back, 'back')); }
    if (it.added) { item.append(element('div', 'added to a round trip: ' + (it.added[0] + it.added[1]) + ' ms (' + it.added[0] + ' ms there, ' + it.added[1] + ' ms back)', [], 'fine')); }
    it.near.forEach((value) => item.append(said(value, 'but ')));
    if (isLong && it.hops.length) {
      const hops = it.hops.map((hop) => hop.direction + ' ' + hop.interface + (hop.passes ? '' : ' (stopped here)'));
      item.append(element('div', 'seen by pf: ' + hops.join(', '), [], 'fine'));
    }
    item.append(...ruleLinks(it.lines));
    return item;
  }

  function arrow(from, to) { return element('h3', '', [badge(from), ' → ', badge(to)]); }

  function partList(parts, isLong) { return element('ul', '', parts.map((it) => part(it, isLong)), 'parts'); }

  // --- Explanations ---

  // What some volumes of two providers may do beyond what every address of them may.
  function beyond(from, to) {
    const ends = (provider) => [null, ...net.volumes.filter((it) => it.provider === provider.provider)];
    const passing = (a, b) => net.parts(a, b, null).filter((it) => it.passes).map((it) => it.services + ' by ' + it.declared.map((value) => value.path).join());
    const whole = (provider) => Object.assign({}, net.end(provider.name));
    const lines = new Map();
    const known = new Map();
    const base = new Set(passing(whole(from), whole(to)));
    for (const a of ends(from)) {
      for (const b of ends(to)) {
        if (a === null && b === null) { continue; }
        const pair = (a ? a.kind : 'w') + ':' + (b ? b.kind : 'w');
        if (!known.has(pair)) {
          const parts = net.parts(a ? net.end(a.name) : whole(from), b ? net.end(b.name) : whole(to), null).filter((it) => it.passes);
          known.set(pair, parts.filter((it) => !base.has(it.services + ' by ' + it.declared.map((value) => value.path).join())));
        }
        for (const it of known.get(pair)) {
          const links = it.declared.map((value) => value.path).join(', ');
          // Told once of those whom the link names.
          const isNamed = it.reason !== 'links' || it.declared.some((value) => {
            const link = net.linkOf.get(Number(value.path.slice(6)));
            const names = (set, end, provider) => (end ? net.has(set, net.first + end.volume) || net.has(set, provider) : net.has(set, provider));
            const narrow = (set, end, provider) => !end || net.has(set, net.first + end.volume) || !net.has(set, provider);
            const forth = names(link.from, a, from.provider) && names(link.to, b, to.provider) && narrow(link.from, a, from.provider) && narrow(link.to, b, to.provider) && !(a && net.has(link.from, from.provider)) && !(b && net.has(link.to, to.provider));
            const back = link.both && names(link.to, a, from.provider) && names(link.from, b, to.provider) && !(a && net.has(link.to, from.provider)) && !(b && net.has(link.from, to.provider));
            return forth || back;
          });
          if (!isNamed) { continue; }
          const key = it.services + ' (' + links + ')';
          if (!lines.has(key)) { lines.set(key, []); }
          lines.get(key).push((a ? a.name : from.name) + ' → ' + (b ? b.name : to.name));
        }
      }
    }
    return Array.from(lines, ([key, pairs]) => few(pairs.slice(0, 6).join(', ') + (pairs.length > 6 ? ' and ' + (pairs.length - 6) + ' more' : ''), 300) + ': ' + key);
  }

  function explainPair(from, to) {
    const parts = [arrow(from, to)];
    let answer;
    try {
      answer = net.ask(from, to, '', '');
    } catch (error) {
      if (!(error instanceof net.Wrong)) { throw error; }
      // A provider that has no address but its volumes'.
      parts.push(element('p', error.message));
      return parts;
    }
    const [a, b] = [providerBy.get(from), providerBy.get(to)];
    const extra = a && b && a !== b ? beyond(a, b) : [];
    const few = extra.length ? [element('p', 'Only some volumes:'), element('ul', '', extra.slice(0, 12).map((line) => element('li', line, [], 'passes')), 'parts')] : [];
    const passing = answer.parts.filter((it) => it.passes);
    if (passing.length) { parts.push(partList(passing, false)); }
    parts.push(...few);
    const rest = answer.parts.filter((it) => !it.passes);
    if (rest.length) {
      if (extra.length && !passing.length) { parts.push(element('p', 'Everybody else:')); }
      parts.push(partList(rest, false));
    }
    return parts;
  }

  function lists(title, groups) {
    const shown = groups.filter((group) => group[1].length);
    const line = ([word, names, className]) => element('li', '', [element('strong', word, [], className), ' ', ...names.slice(0, 24).flatMap((name, at) => (at ? [', ', badge(name)] : [badge(name)])), names.length > 24 ? ' and ' + (names.length - 24) + ' more' : '']);
    return shown.length ? [element('h4', title), element('ul', '', shown.map(line), 'parts')] : [];
  }

  function grouped(names, share) {
    const by = { all: [], some: [], none: [] };
    names.forEach((name) => by[share(name)].push(name));
    return [['everything', by.all, 'passes'], ['something', by.some, 'passes'], ['nothing', by.none, 'blocked']];
  }

  // Everyone in a provider together: the share of all, and `some` where they differ.
  function shares(kinds, others) {
    const found = new Set();
    for (const from of kinds) { for (const to of others) { found.add(net.share(from, to)); } }
    return found.size === 1 ? found.values().next().value : 'some';
  }

  const kindsOf = new Map();
  function kinds(name) {
    if (!kindsOf.has(name)) {
      const volume = volumeBy.get(name);
      const provider = providerBy.get(name);
      const all = volume ? [volume.kind] : [provider.kind, ...net.volumes.filter((it) => it.provider === provider.provider).map((it) => it.kind)];
      kindsOf.set(name, Array.from(new Set(all)));
    }
    return kindsOf.get(name);
  }

  function explainEnd(name) {
    const volume = volumeBy.get(name);
    const provider = volume ? net.providers[volume.provider] : providerBy.get(name);
    const parts = [element('h3', '', [badge(name)])];
    if (!provider) {
      const words = {
        mac: 'This Mac opens to every volume, and volumes open to it as to the internet.',
        internet: 'The internet opens to no volume. Providers with internet reach it with NAT.',
        localhost: "Between volumes and this Mac's loopback everything passes. Each alias of lo0 leads to one volume; published ports answer there."
      };
      parts.push(element('p', words[name] || ''));
      if (name === 'internet') {
        const names = (is) => net.providers.filter((it) => it.internet === is).map((it) => it.name);
        parts.push(...lists('Reached by', [['with NAT', names(true), 'passes'], ['not by', names(false), 'blocked']]));
      }
      return parts;
    }
    parts.push(element('p', volume ? net.end(name).what + ', ' + volume.address + (volume.alias ? ', ' + volume.alias + ' on localhost' : '')
      : provider.network + ', gateway ' + provider.gateway + ', ' + provider.bridge + ', ' + (provider.internet ? 'NAT to the internet' : 'no internet')));
    const number = volume ? net.first + volume.volume : provider.provider;
    const touching = net.links.filter((link) => [link.from, link.to].some((set) => net.has(set, number) || (volume && net.has(set, volume.provider))));
    if (touching.length) {
      parts.push(element('h4', touching.length === 1 ? 'Link' : 'Links'));
      parts.push(...touching.slice(0, 8).map((link) => said({ path: link.path, says: few(link.says, 160), place: null }, '')));
      if (touching.length > 8) { parts.push(element('div', 'and ' + (touching.length - 8) + ' more', [], 'fine')); }
    }
    const others = net.providers.filter((it) => it !== provider).map((it) => it.name);
    parts.push(...lists('May open', grouped(others, (other) => shares(kinds(name), kinds(other)))));
    parts.push(...lists('May be opened by', grouped(others, (other) => shares(kinds(other), kinds(name)))));
    return parts;
  }

  function explainLink(index) {
    const link = net.linkOf.get(index);
    const parts = [element('h3', '', [anchored(link.path, '#link-' + index)]), element('p', few(link.says, 600))];
    const row = document.getElementById('link-' + index);
    const place = row && row.dataset.place;
    if (place) { parts.push(element('p', place, [], 'fine')); }
    const rules = document.querySelectorAll('tr[data-about~="' + link.path + '"]');
    parts.push(...ruleLinks(Array.from(rules, (rule) => Number(rule.id.slice(1)))));
    return parts;
  }

  // --- Light ---

  let lit = [];
  function light(want) {
    lit.forEach((it) => it.classList.remove('on'));
    lit = [];
    document.body.classList.toggle('lit', want !== null);
    if (want === null) { return; }
    const on = (it) => { it.classList.add('on'); lit.push(it); };
    const each = (selector, is) => document.querySelectorAll(selector).forEach((it) => { if (is(it)) { on(it); } });
    const names = (name) => want.ends.has(name) || want.ends.has((volumeBy.has(name) ? net.providers[volumeBy.get(name).provider] : { name: null }).name);
    each('[data-provider]', (it) => want.ends.has(it.dataset.provider) || want.within.has(it.dataset.provider));
    each('[data-volume]', (it) => names(it.dataset.volume));
    each('[data-end]', (it) => want.ends.has(it.dataset.end));
    each('[data-link]', (it) => want.links.has(Number(it.dataset.link)));
    each('.line, .head', (it) => want.links.has(Number(it.parentNode.dataset.link)) && (want.all || names(it.dataset.to) || want.within.has(it.dataset.to)));
    each('tr[data-about]', (it) => it.dataset.about.split(' ').some((word) => (word.startsWith('links.') ? want.links.has(Number(word.slice(6))) : want.alone && want.ends.has(word))));
    if (want.cell) { want.cell.forEach(on); }
  }

  function wanted(target) {
    const { from, to, name, link } = target;
    const want = { ends: new Set(), within: new Set(), links: new Set(), all: false, alone: false, cell: target.cell };
    const add = (end) => {
      want.ends.add(end);
      if (volumeBy.has(end)) { want.within.add(net.providers[volumeBy.get(end).provider].name); }
    };
    if (link !== undefined) {
      const it = net.linkOf.get(link);
      want.links.add(link);
      want.all = true;
      for (const set of [it.from, it.to]) {
        net.providers.forEach((provider) => { if (net.has(set, provider.provider)) { add(provider.name); } });
        net.volumes.forEach((volume) => { if (net.has(set, net.first + volume.volume)) { add(volume.name); } });
      }
      return want;
    }
    const touches = (set, end) => {
      const volume = volumeBy.get(end);
      const provider = providerBy.get(end);
      if (volume) { return net.has(set, net.first + volume.volume) || net.has(set, volume.provider); }
      if (!provider) { return false; }
      return net.has(set, provider.provider) || net.volumes.some((it) => it.provider === provider.provider && net.has(set, net.first + it.volume));
    };
    if (name !== undefined) {
      add(name);
      want.alone = true;
      want.all = true;
      net.links.forEach((it) => { if (touches(it.from, name) || touches(it.to, name)) { want.links.add(it.index); } });
      return want;
    }
    [from, to].forEach(add);
    net.links.forEach((it) => {
      if ((touches(it.from, from) && touches(it.to, to)) || (it.both && touches(it.to, from) && touches(it.from, to))) { want.links.add(it.index); }
    });
    return want;
  }

  // --- What is pointed at ---

  function headerOf(header) { return header.dataset.provider || header.dataset.volume || header.dataset.end; }

  // What an element is about: an end, a link, or a pair of ends.
  function targetOf(node) {
    const it = node.closest ? node.closest('[data-link], [data-volume], [data-provider], [data-end], .matrix td') : null;
    if (!it || it.closest('#panel')) { return null; }
    if (it.dataset.link !== undefined) { return { node: it, key: 'l' + it.dataset.link, link: Number(it.dataset.link) }; }
    const name = headerOf(it);
    if (name) { return { node: it, key: 'e' + name, name }; }
    const row = it.parentElement.cells[0];
    const column = it.closest('table').tHead.rows[0].cells[it.cellIndex];
    const [from, to] = [headerOf(row), headerOf(column)];
    return from && to ? { node: it, key: 'p' + from + ' ' + to, from, to, cell: [it, row, column] } : null;
  }

  let shown = null;
  let pinned = false;

  function show(target) {
    if (shown !== null && shown.key === target.key) { return; }
    shown = target;
    const parts = target.link !== undefined ? explainLink(target.link) : target.name !== undefined ? explainEnd(target.name) : explainPair(target.from, target.to);
    told.replaceChildren(...parts);
    document.body.classList.add('told');
    light(wanted(target));
  }

  function hide() {
    shown = null;
    pinned = false;
    document.body.classList.remove('told', 'pinned');
    light(null);
    told.replaceChildren(element('p', told.dataset.empty, [], 'fine'));
  }

  function pin(target) {
    show(target);
    pinned = true;
    document.body.classList.add('pinned');
    // On a small screen the panel stands below: what it is about stays in sight.
    if (getComputedStyle(panel).position === 'fixed') { target.node.scrollIntoView({ block: 'center', inline: 'nearest' }); }
  }

  document.addEventListener('pointerover', (event) => {
    if (pinned || event.pointerType === 'touch') { return; }
    const target = targetOf(event.target);
    if (target) { show(target); }
  });
  document.addEventListener('focusin', (event) => {
    const target = event.target.matches('[tabindex]') ? targetOf(event.target) : null;
    if (target && !pinned) { show(target); }
    if (target && getComputedStyle(panel).position === 'fixed') { target.node.scrollIntoView({ block: 'center', inline: 'nearest' }); }
  });
  document.addEventListener('click', (event) => {
    if (event.target.closest('a, button, summary, input, label, #panel')) { return; }
    const target = targetOf(event.target);
    if (target) { pinned = false; pin(target); } else if (pinned) { hide(); }
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') { hide(); }
    if (event.key !== 'Enter' && event.key !== ' ') { return; }
    const target = event.target.matches('[tabindex]') && !event.target.matches('[role=region]') ? targetOf(event.target) : null;
    if (target) { event.preventDefault(); pinned = false; pin(target); }
  });
  close.addEventListener('click', hide);

  // --- The keyboard: one stop for each matrix and for the picture, arrows inside ---

  function stop(all, first) { all.forEach((it) => { it.tabIndex = it === first ? 0 : -1; }); }

  function go(all, from, to) {
    if (!to || !all.includes(to)) { return; }
    from.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  }

  for (const table of document.querySelectorAll('.matrix')) {
    const cells = Array.from(table.querySelectorAll('th[scope], td'));
    const of = cells.filter((it) => it.matches('.matrix tbody td') || headerOf(it));
    table.setAttribute('role', 'grid');
    stop(of, table.querySelector('tbody td'));
    table.addEventListener('keydown', (event) => {
      const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      const step = steps[event.key];
      const cell = event.target.closest('th, td');
      if (!step || !cell || event.target !== cell) { return; }
      event.preventDefault();
      const row = table.rows[cell.parentElement.rowIndex + step[0]];
      go(of, cell, row && row.cells[cell.cellIndex + step[1]]);
    });
  }

  const picture = document.querySelector('.topology');
  if (picture) {
    const parts = Array.from(picture.querySelectorAll('[data-provider], g[data-volume]:not([data-volume=""]), [data-link], [data-end]'));
    picture.setAttribute('role', 'group');
    for (const it of parts) {
      const title = it.querySelector('title');
      it.setAttribute('role', 'button');
      // The panel says it all, and more.
      if (title) { title.remove(); }
      const seen = it.textContent.replace(/\s+/g, ' ').trim();
      it.setAttribute('aria-label', seen + (title ? ': ' + few(title.textContent, 200) : ''));
    }
    stop(parts, parts[0]);
    picture.addEventListener('keydown', (event) => {
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      const at = parts.indexOf(event.target);
      if (!by || at < 0) { return; }
      event.preventDefault();
      go(parts, parts[at], parts[at + by]);
    });
  }

  // --- Questions ---

  const form = document.getElementById('asker');
  const fields = ['from', 'to', 'port', 'protocol'];
  const value = (name) => form.elements[name].value.trim();

  function answer() {
    let parts;
    try {
      const found = net.ask(...fields.map(value));
      const ends = found.source.name + ' (' + found.source.address + ') → ' + found.target.name + ' (' + found.target.address + ')';
      parts = [element('h3', ends), partList(found.parts, true)];
      shown = { key: 'q' };
      const [from, to] = [found.source, found.target].map((it) => (it.volume !== null ? net.volumes[it.volume].name : it.provider !== null ? net.providers[it.provider].name : it.name));
      light(wanted({ from, to }));
    } catch (error) {
      if (!(error instanceof net.Wrong)) { throw error; }
      light(null);
      parts = [element('p', 'error: ' + error.message)];
    }
    told.replaceChildren(...parts);
    pinned = true;
    document.body.classList.add('told', 'pinned');
  }

  document.body.classList.add('scripted');
  form.hidden = false;
  hide();
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    history.replaceState(null, '', '#ask?' + new URLSearchParams(fields.map((name) => [name, value(name)])));
    answer();
  });
  // A link to an answer: #ask?from=etcd-1&to=etcd-2&port=2379
  if (location.hash.startsWith('#ask?')) {
    const query = new URLSearchParams(location.hash.slice(5));
    for (const name of fields) { form.elements[name].value = query.get(name) || ''; }
    answer();
  }
  window.addEventListener('beforeprint', () => document.querySelectorAll('#changes details').forEach((it) => { it.open = true; }));
}());
