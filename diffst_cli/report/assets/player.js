/* Several videos that play as one. Times are seconds in the player's own time, from 0. */
class Player {
  /* `frames`: when each frame of the video that has most begins. */
  constructor(videos, { duration, frames, onTime, onState }) {
    Object.assign(this, { videos, duration, frames, onTime, onState });
    const gaps = frames.slice(1).map((time, index) => time - frames[index]);
    this.margin = Math.min(...gaps, duration) / 4; // seconds; less than this is the same frame
    this.time = 0;
    this.rate = 1;
    this.playing = false;
  }

  play() {
    if (this.frameAt(this.time) === this.frames.length - 1) this.seek(0);
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
    this.time = Math.min(Math.max(time, 0), this.duration - 2 * this.margin);
    // A little after a frame's beginning, so that rounding does not show the one before.
    for (const video of this.videos) video.currentTime = this.time + this.margin;
    this.onTime();
  }

  /* Index of the frame shown at a time. */
  frameAt(time) {
    return Math.max(this.frames.findLastIndex((begin) => begin <= time + this.margin), 0);
  }

  move(frames) {
    this.pause();
    const index = this.frameAt(this.time) + frames;
    this.seek(this.frames[Math.min(Math.max(index, 0), this.frames.length - 1)]);
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
