//! Carriers: a cable that was plugged in again, a Wi-Fi that came back.
//!
//! libp2p's interface watcher hears of addresses only, and an address stays when a cable is pulled. On Linux the
//! kernel tells every change of a link on a netlink socket (measured: within 2 ms); elsewhere this is silent, and the
//! beacon's period finds the others again.

#[cfg(target_os = "linux")]
pub(crate) use linux::Carriers;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::Carriers;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::io;

    use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::link::LinkFlags;
    use netlink_sys::protocols::NETLINK_ROUTE;
    use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};

    use crate::limits;

    /// `RTMGRP_LINK`: changes of links.
    const LINKS: u32 = 1;

    /// Watches the carriers of this machine's interfaces.
    pub(crate) struct Carriers {
        socket: Option<TokioSocket>,
        up: HashMap<u32, bool>,
    }

    impl Carriers {
        pub(crate) fn new() -> Self {
            let socket = open().inspect_err(|error| tracing::debug!(%error, "carriers are not watched"));
            Self { socket: socket.ok(), up: HashMap::new() }
        }

        /// Waits until a carrier came up. Safe to cancel.
        pub(crate) async fn returned(&mut self) {
            loop {
                let Some(socket) = &self.socket else { return std::future::pending().await };
                let Ok((packet, from)) = socket.recv_from_full().await else {
                    self.socket = None;
                    continue;
                };
                // Only the kernel has port 0: other processes may not tell us of carriers.
                if from.port_number() == 0 && self.note(&packet) {
                    return;
                }
            }
        }

        /// Takes in one packet; true if an interface that had no carrier has one now.
        fn note(&mut self, packet: &[u8]) -> bool {
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(packet) else {
                return false;
            };
            let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = message.payload else {
                return false;
            };
            if self.up.len() >= limits::CARRIERS {
                self.up.clear();
            }
            let up = link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running);
            let before = self.up.insert(link.header.index, up);
            up && before == Some(false)
        }
    }

    fn open() -> io::Result<TokioSocket> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, LINKS))?;
        Ok(socket)
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    /// Hears nothing.
    pub(crate) struct Carriers;

    impl Carriers {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) async fn returned(&mut self) {
            std::future::pending().await
        }
    }
}
