/* Several videos that play as one. Times are seconds in the player's own time, from 0. */
class Player {
  constructor(videos, { duration, step, onTime, onState }) {
    Object.assign(this, { videos, duration, step, onTime, onState });
    this.time = 0;
    this.rate = 1;
    this.playing = false;
  }

  play() {
    if (this.time >= this.duration - this.step) this.seek(0);
    this.playing = true;
    for (const video of this.videos) {
      video.playbackRate = this.rate;
      video.play().catch(() => {});
    }
    this.onState();
    requestAnimationFrame(() => this.follow());
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    for (const video of this.videos) video.pause();
    this.seek(this.time); // all on one frame again
    this.onState();
  }

  setRate(rate) {
    this.rate = rate;
    for (const video of this.videos) video.playbackRate = rate;
  }

  seek(time) {
    this.time = Math.min(Math.max(time, 0), this.duration - this.step / 2);
    // A little after a frame's beginning, so that rounding does not show the one before.
    for (const video of this.videos) video.currentTime = this.time + this.step / 4;
    this.onTime();
  }

  move(frames) {
    this.pause();
    this.seek((Math.round(this.time / this.step) + frames) * this.step);
  }

  /* While playing: keep the others at the first video's time, and start again after the end. */
  follow() {
    if (!this.playing) return;
    const first = this.videos[0];
    if (this.videos.some((video) => video.ended)) {
      this.seek(0);
      for (const video of this.videos) video.play().catch(() => {});
    }
    this.time = Math.min(first.currentTime, this.duration);
    for (const video of this.videos.slice(1)) {
      const late = first.currentTime - video.currentTime;
      if (Math.abs(late) > 0.2 && !video.seeking) video.currentTime = first.currentTime;
      else video.playbackRate = this.rate * (1 + Math.min(Math.max(late, -0.1), 0.1));
    }
    this.onTime();
    requestAnimationFrame(() => this.follow());
  }
}
