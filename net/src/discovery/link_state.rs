//! Carriers: a cable that was plugged in again, a Wi-Fi that came back.
//!
//! libp2p's interface watcher hears of addresses only, and an address stays when a cable is pulled. On Linux the
//! kernel tells every change of a link on a netlink socket (measured: within 2 ms); elsewhere this is silent, and the
//! beacon's period finds the others again.

#[cfg(target_os = "linux")]
pub(crate) use linux::LinkStateWatcher;

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
    const RTMGRP_LINK: u32 = 1;

    /// Watches the carriers of this machine's interfaces.
    pub(crate) struct LinkStateWatcher {
        socket: Option<TokioSocket>,
        up_by_interface: HashMap<u32, bool>,
    }

    impl LinkStateWatcher {
        pub(crate) fn new() -> Self {
            let socket = open_netlink_socket()
                .inspect_err(|error| tracing::debug!(%error, "carriers are not watched"));
            Self { socket: socket.ok(), up_by_interface: HashMap::new() }
        }

        /// Waits until a carrier came up. Safe to cancel.
        pub(crate) async fn carrier_restored(&mut self) {
            loop {
                let Some(socket) = &self.socket else { return std::future::pending().await };
                let Ok((packet, sender)) = socket.recv_from_full().await else {
                    self.socket = None;
                    continue;
                };
                // Only the kernel has port 0: other processes may not tell us of carriers.
                if sender.port_number() == 0 && self.on_packet(&packet) {
                    return;
                }
            }
        }

        /// Takes in one packet; true if an interface that had no carrier has one now.
        fn on_packet(&mut self, packet: &[u8]) -> bool {
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(packet) else {
                return false;
            };
            let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link_message)) = message.payload
            else {
                return false;
            };
            if self.up_by_interface.len() >= limits::MAX_WATCHED_INTERFACES {
                self.up_by_interface.clear();
            }
            let is_up =
                link_message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running);
            let was_up = self.up_by_interface.insert(link_message.header.index, is_up);
            is_up && was_up == Some(false)
        }
    }

    fn open_netlink_socket() -> io::Result<TokioSocket> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, RTMGRP_LINK))?;
        Ok(socket)
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    /// Hears nothing.
    pub(crate) struct Carriers;

    impl LinkStateWatcher {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) async fn returned(&mut self) {
            std::future::pending().await
        }
    }
}
