
'use strict';
(() => {
  const live = document.getElementById('live');
  const events = `${location.pathname.replace(/\/+$/, '')}/events`;
  const again = 10000;
  let source = null;
  let timer = 0;
  const say = (text, state) => {
    live.textContent = text;
    live.className = `live ${state}`;
  };
  const show = event => {
    const next = document.createElement('template');
    next.innerHTML = event.data;
    for (const part of next.content.querySelectorAll('[data-part]')) {
      const shown = document.querySelector(`[data-part="${part.dataset.part}"]`);
      if (shown && shown.outerHTML !== part.outerHTML) {
        shown.className = part.className;
        shown.innerHTML = part.innerHTML;
      }
    }
    say('Live', 'on');
  };
  const stop = () => {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  };
  const start = () => {
    stop();
    source = new EventSource(events);
    source.addEventListener('page', show);
    source.onerror = () => {
      say('Not live; connecting again', 'off');
      if (source && source.readyState === EventSource.CLOSED) {
        stop();
        timer = setTimeout(start, again);
      }
    };
  };
  document.addEventListener('visibilitychange', () => (document.hidden ? stop() : start()));
  start();
})();
